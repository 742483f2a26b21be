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

"""Translate our errors, and Neutron's, into errors of Zun.

Only classes of ``zun.common.exception`` pass from zun-compute to zun-api.
zun-api hides the text of errors with HTTP code 500 or more, so an error that
the user can act upon gets a code below 500.
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
# After these errors, the outcome on the node is unknown.
UNREACHABLE = (exception.NodeUnavailable, exception.ContainerdUnavailable)

_CLASSES: tuple[tuple[type[Exception], type[Exception]], ...] = (
    (exception.ImageNotFound, zun_exc.ImageNotFound),
    (exception.Unsupported, zun_exc.Invalid),
    (exception.InvalidInput, zun_exc.Invalid),
    (exception.UnknownRuntime, zun_exc.Invalid),
    (exception.NotEnoughMemory, zun_exc.Invalid),
    (exception.NotEnoughDisk, zun_exc.Conflict),
    (exception.CommandNotFound, zun_exc.Invalid),
    (exception.RegistryDenied, zun_exc.Invalid),
    (exception.RegistryUnreachable, zun_exc.Conflict),
    (exception.NotFound, zun_exc.Conflict),
    (exception.Conflict, zun_exc.Conflict),
    (exception.NoHandler, zun_exc.Conflict),
    (exception.NodeUnavailable, zun_exc.Conflict),
    (exception.VersionMismatch, zun_exc.Conflict),
    (exception.Expired, zun_exc.Conflict),
    (exception.NodeBusy, zun_exc.Conflict),
    (exception.NodeFull, zun_exc.Conflict),
    (exception.ImagePullFailed, zun_exc.Conflict),
    (exception.GlanceFailed, zun_exc.Conflict),
    (exception.ContainerdUnavailable, zun_exc.Conflict),
    (exception.NetworkFailed, zun_exc.Conflict),
    (exception.RuntimeFailed, zun_exc.Conflict),
)


def text(error: BaseException) -> str:
    """Return the message of an error, or its class if it has none.

    Errors of kata-compute arrive without a remote traceback, see
    :class:`kata_openstack.compute.rpcapi.ComputeAPI`.
    """
    return str(error) or type(error).__name__


def make(cls: type[Exception], message: str) -> Exception:
    """Return a Zun exception whose text is ``message``, also after RPC.

    ZunException applies ``%`` formatting to its text when it is created, and
    again when oslo.messaging rebuilds it from ``args`` on the other side. A
    per cent sign, such as one in a URL, would break both.
    """
    escaped = message.replace('%', '%%')
    error = cls(escaped)
    error.args = (escaped,)
    return error


def to_zun(error: BaseException) -> Exception:
    """Return the error of Zun for ``error``. Errors of Zun pass unchanged."""
    if isinstance(error, zun_exc.ZunException):
        return error
    for ours, theirs in _CLASSES:
        if isinstance(error, ours):
            return make(theirs, text(error))
    return make(zun_exc.ZunException, text(error))


def unsupported(operation: str, remedy: str) -> Exception:
    return to_zun(exception.Unsupported(operation=operation, remedy=remedy))


def network(what: str, error: Exception) -> exception.NetworkFailed:
    """Return the error for a failure of Neutron, with a remedy.

    :param what: UUID of the container or capsule.
    """
    if isinstance(error, neutron_exc.OverQuotaClient):
        remedy = ('Delete ports that are no longer used, or raise the quota: '
                  'openstack quota set --ports.')
    elif isinstance(error, (neutron_exc.IpAddressGenerationFailureClient,
                            neutron_exc.IpAddressInUseClient)):
        remedy = ('Choose another address, or a network whose subnet has '
                  'free addresses (openstack subnet show).')
    elif isinstance(error, neutron_exc.ConnectionFailed):
        remedy = 'Check that the Neutron API is running, and try again.'
    else:
        remedy = "Find the cause in Neutron's log, and try again."
    return exception.NetworkFailed(id=what, why=text(error).rstrip('.'),
                                   remedy=remedy)


def translated(method: Callable[..., Any]) -> Callable[..., Any]:
    """Translate errors of operations whose caller waits for the answer."""

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
    """Report errors of operations that zun-compute runs in the background.

    zun-compute only logs such an error, so the text also goes into
    ``status_reason``; zun-compute saves the record afterwards. The status
    stays: a container that could not be killed still runs, and Zun allows
    almost no operation on a container in Error.
    """
    return _reporting(method, lambda error: False)


def reported_as_error(method: Callable[..., Any]) -> Callable[..., Any]:
    """Like :func:`reported`, but a failure sets the status to Error.

    For operations that a failure leaves half done. A refusal keeps the
    status, because it changes nothing. So does a node that does not answer:
    the periodic sync finds out the outcome.
    """
    return _reporting(method, _is_failure)


def _is_failure(error: Exception) -> bool:
    if isinstance(error, (*UNREACHABLE, exception.Conflict,
                          exception.VersionMismatch, exception.Expired,
                          exception.NodeBusy)):
        return False
    return not isinstance(to_zun(error), zun_exc.Invalid)


def _reporting(method: Callable[..., Any],
               failed: Callable[[Exception], bool]) -> Callable[..., Any]:
    """:param failed: returns True if the error puts the container in Error"""

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
    """Log an error, with a traceback only if it is unexpected.

    An operator need not act upon what a user has to correct.
    """
    expected = isinstance(error, exception.KataError)
    users = isinstance(to_zun(error), (zun_exc.Invalid,
                                       zun_exc.ImageNotFound))
    LOG.log(logging.INFO if users else logging.ERROR, '%s failed: %s',
            operation, text(error), exc_info=not expected)


def refuse(operation: str, remedy: str) -> Callable[..., NoReturn]:
    """Return a method that refuses ``operation``.

    :param operation: the object of "kata-openstack does not support".
    """

    def refused(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        error = unsupported(operation, remedy)
        for arg in args:
            if isinstance(arg, objects.container.ContainerBase):
                arg.status_reason = text(error)
        raise error

    refused.__doc__ = f'Refuse {operation}.'
    return refused
