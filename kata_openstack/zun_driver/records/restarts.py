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

"""Restart policies: start a container again after it ended by itself.

As in Docker, the pauses grow from 0.1 s to a minute, and begin anew after a
container has run for ten seconds. Meanwhile, its status stays Running, as
Docker says of a container that it restarts, so that users can stop it.

The counts and pauses are in memory. After a restart of zun-compute, a
container that runs according to its record, but not on the node, begins anew.
"""

from collections.abc import Callable
import dataclasses
import functools
import time
from typing import Any

from oslo_log import log as logging
from oslo_utils import timeutils
from zun.common import consts
from zun.common import context as zun_context
from zun.common import utils as zun_utils
from zun import objects as zun_objects

from kata_openstack import exception
from kata_openstack import objects
from kata_openstack import restart_pauses
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.records import background
from kata_openstack.zun_driver.records import failures
from kata_openstack.zun_driver import translate

LOG = logging.getLogger(__name__)
# Signals with which users end a program, in each spelling
_ENDING = {'KILL', 'TERM', 'INT', 'QUIT', '9', '15', '2', '3'}
# After these errors of a start, another one may succeed
_PASSING = (*errors.UNREACHABLE, exception.NodeBusy, exception.Expired,
            exception.NodeFull, exception.NotEnoughDisk,
            exception.RuntimeFailed)
_MOST = 10000  # containers that are remembered


@dataclasses.dataclass
class _History:
    """``pending``: a restart has been decided and is not over. ``again``: it
    failed, but may succeed later."""

    count: int = 0
    pause: float = 0.0
    pending: bool = False
    ended_by_user: bool = False
    again: bool = False


class Restarts:
    """Decides and does restarts.

    :param start: starts a container of a record
    """

    def __init__(self, start: Callable[[Any, Any], Any]) -> None:
        self._start = start
        self._known: dict[str, _History] = {}

    def _history(self, record: Any) -> _History:
        if len(self._known) >= _MOST:
            for uuid in [u for u, h in self._known.items() if not h.pending]:
                del self._known[uuid]
        return self._known.setdefault(record.uuid, _History())

    def forget(self, record: Any) -> None:
        """Give up a restart: a user operates the container."""
        self._known.pop(record.uuid, None)

    def let_end(self, record: Any, signal: str) -> None:
        """Note that a user has sent a signal, which may end the container."""
        if (self.has_policy(record)
                and signal.upper().removeprefix('SIG') in _ENDING):
            self.forget(record)
            self._history(record).ended_by_user = True

    @staticmethod
    def has_policy(record: Any) -> bool:
        return bool(translate.restart_policy(record)[0])

    def ends(self, record: Any) -> bool:
        """Return whether a user has sent a signal to end the container."""
        history = self._known.get(record.uuid)
        return bool(history and history.ended_by_user)

    def take(self, record: Any, state: objects.ContainerStatus) -> bool:
        """Decide on a container that ran and has ended.

        :param record: still with the state from before
        :returns: whether it is started again, in the background
        """
        policy, most = translate.restart_policy(record)
        if (not policy or record.status != consts.RUNNING
                or record.task_state or state.state != 'exited'):
            return False
        history = self._history(record)
        if history.pending:
            return True
        if history.ended_by_user:
            self.forget(record)
            return False
        if ((state.finished_at or 0) - (state.started_at or 0)
                >= restart_pauses.STABLE):
            history.pause = 0.0
        if policy == 'on-failure' and (
                state.exit_code == 0 or most and history.count >= most):
            self.forget(record)
            return False
        history.count += 1
        history.pause = restart_pauses.following(history.pause)
        history.pending = True
        LOG.info('Container %s ended with exit code %s; its restart policy '
                 '%s starts it again in %.1f s', record.uuid,
                 state.exit_code, policy, history.pause)
        zun_utils.spawn_n(self._restart, record.uuid, history)
        return True

    def _restart(self, uuid: str, history: _History) -> None:
        time.sleep(history.pause)
        try:
            background.exclusively(
                uuid, functools.partial(self._start_again, uuid, history),
                f'Cannot restart container {uuid}')
        finally:
            history.pending = history.again
        if history.again:
            history.again = False
            history.pause = restart_pauses.following(history.pause)
            zun_utils.spawn_n(self._restart, uuid, history)

    def _start_again(self, uuid: str, history: _History) -> None:
        if self._known.get(uuid) is not history:
            return
        context = zun_context.get_admin_context(all_projects=True)
        record = zun_objects.Container.get_by_uuid(context, uuid)
        if record.status != consts.RUNNING or record.task_state:
            return
        with failures.unless_deleted(record):
            try:
                self._start(context, record)
                record.started_at = timeutils.utcnow()
            except _PASSING as e:
                record.status_reason = errors.text(e)
                history.again = True
                raise
            except Exception as e:
                # the reason stays until a user starts it
                record.status = consts.STOPPED
                record.status_reason = errors.text(e)
                self.forget(record)
                raise
            finally:
                record.save(context)
