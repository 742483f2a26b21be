# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""From our errors, and Neutron's, to those that Zun can carry.

Only classes of ``zun.common.exception`` survive the way from zun-compute
to zun-api. Their HTTP code matters: from 500 on the API hides the text, so
whatever the user can act upon becomes an error of the 400s.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NoReturn

from neutronclient.common import exceptions as neutron_exc
from oslo_log import log as logging
from zun.common import consts
from zun.common import exception as zun_exc
from zun import objects

from kata_openstack import exception

LOG = logging.getLogger(__name__)
# These say nothing of the container: the node may have done what it was
# asked for, or not, and has whatever it had.
UNREACHABLE = (exception.NodeUnavailable, exception.ContainerdUnavailable)

_CLASSES: tuple[tuple[type[Exception], type[Exception]], ...] = (
    (exception.ImageNotFound, zun_exc.ImageNotFound),
    (exception.Unsupported, zun_exc.Invalid),
    (exception.InvalidInput, zun_exc.Invalid),
    (exception.UnknownRuntime, zun_exc.Invalid),
    (exception.NotEnoughMemory, zun_exc.Invalid),
    (exception.CommandNotFound, zun_exc.Invalid),
    (exception.RegistryDenied, zun_exc.Invalid),
    (exception.RegistryUnreachable, zun_exc.Conflict),
    (exception.NotFound, zun_exc.Conflict),
    (exception.Conflict, zun_exc.Conflict),
    (exception.NoHandler, zun_exc.Conflict),
    (exception.NodeUnavailable, zun_exc.Conflict),
    (exception.ContainerdUnavailable, zun_exc.Conflict),
    (exception.NetworkFailed, zun_exc.Conflict),
)


def text(error: BaseException) -> str:
    """The error's own words.

    ``str()`` of an error that came over RPC also holds the remote
    traceback (oslo.messaging's ``_Remote`` classes).
    """
    if type(error).__name__.endswith('_Remote') and error.args:
        return str(error.args[0])
    return str(error) or type(error).__name__


def make(cls: type[Exception], message: str) -> Exception:
    """A Zun exception whose text is ``message``, also behind RPC.

    ZunException puts its text through ``%`` formatting when it is made, and
    again when oslo.messaging rebuilds it from ``args`` on the other side; a
    per cent sign, as in a URL, would break either.
    """
    escaped = message.replace('%', '%%')
    error = cls(escaped)
    error.args = (escaped,)
    return error


def to_zun(error: BaseException) -> Exception:
    if isinstance(error, zun_exc.ZunException):
        return error
    for ours, theirs in _CLASSES:
        if isinstance(error, ours):
            return make(theirs, text(error))
    return make(zun_exc.ZunException, text(error))


def unsupported(operation: str, remedy: str) -> Exception:
    return to_zun(exception.Unsupported(operation=operation, remedy=remedy))


def network(what: str, error: Exception) -> exception.NetworkFailed:
    """A failure of Neutron, with the remedy that fits."""
    if isinstance(error, neutron_exc.OverQuotaClient):
        remedy = ('Delete ports that are no longer used, or raise the quota: '
                  'openstack quota set --ports.')
    elif isinstance(error, (neutron_exc.IpAddressGenerationFailureClient,
                            neutron_exc.IpAddressInUseClient)):
        remedy = ('Choose another address, or a network whose subnet has '
                  'free addresses: openstack subnet show.')
    elif isinstance(error, neutron_exc.ConnectionFailed):
        remedy = 'Check that the Neutron API runs, and try again.'
    else:
        remedy = "See Neutron's log, and try again."
    return exception.NetworkFailed(id=what, why=text(error).rstrip('.'),
                                   remedy=remedy)


def translated(method: Callable[..., Any]) -> Callable[..., Any]:
    """For operations whose caller waits for the answer."""

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except zun_exc.ZunException:
            raise
        except Exception as e:
            _log(method.__name__, e)
            raise to_zun(e) from e

    return wrapper


def reported(method: Callable[..., Any]) -> Callable[..., Any]:
    """For operations that zun-compute runs in the background.

    Their errors go no further than zun-compute's log, so the container is
    told too; zun-compute saves it afterwards. Its status stays: what could
    not be killed still runs, and in Error nothing could be done to it.
    """
    return _reporting(method, lambda error: False)


def reported_as_error(method: Callable[..., Any]) -> Callable[..., Any]:
    """As :func:`reported`, for operations that a failure leaves half done.

    A refusal leaves the status alone, because nothing has happened to the
    container. So does a node that does not answer: sync sees what became of
    it.
    """
    return _reporting(method, _is_failure)


def _is_failure(error: Exception) -> bool:
    if isinstance(error, (*UNREACHABLE, exception.Conflict)):
        return False
    return not isinstance(to_zun(error), zun_exc.Invalid)


def _reporting(method: Callable[..., Any],
               failed: Callable[[Exception], bool]) -> Callable[..., Any]:
    """:param failed: whether the container is in Error after an error."""

    @functools.wraps(method)
    def wrapper(self: Any, context: Any, container: Any,
                *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, context, container, *args, **kwargs)
        except Exception as e:
            error = to_zun(e)
            if error is not e:
                _log(method.__name__, e)
            if isinstance(container, objects.container.ContainerBase):
                container.status_reason = text(error)
                if failed(e):
                    container.status = consts.ERROR
            raise error from e

    return wrapper


def _log(operation: str, error: Exception) -> None:
    """A traceback only for what nobody foresaw."""
    expected = isinstance(error, exception.KataError)
    LOG.error('%s failed: %s', operation, text(error), exc_info=not expected)


def refuse(operation: str, remedy: str) -> Callable[..., NoReturn]:
    """A method that says that ``operation`` is not offered."""

    def refused(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        error = unsupported(operation, remedy)
        for arg in args:
            if isinstance(arg, objects.container.ContainerBase):
                arg.status_reason = text(error)
        raise error

    refused.__doc__ = f'Refuse {operation}.'
    return refused
