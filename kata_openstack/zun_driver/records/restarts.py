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
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.records import failures

LOG = logging.getLogger(__name__)
_FIRST, _LONGEST = 0.1, 60.0  # seconds
_STABLE = 10.0  # seconds
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
    pause: float = _FIRST / 2
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
        if (_policy(record)[0]
                and signal.upper().removeprefix('SIG') in _ENDING):
            self.forget(record)
            self._history(record).ended_by_user = True

    @staticmethod
    def has_policy(record: Any) -> bool:
        return bool(_policy(record)[0])

    def ends(self, record: Any) -> bool:
        """Return whether a user has sent a signal to end the container."""
        history = self._known.get(record.uuid)
        return bool(history and history.ended_by_user)

    def is_pending(self, record: Any) -> bool:
        history = self._known.get(record.uuid)
        return bool(history and history.pending)

    def take(self, record: Any, state: objects.ContainerStatus) -> bool:
        """Decide on a container that ran and has ended.

        :param record: still with the state from before
        :returns: whether it is started again, in the background
        """
        policy, most = _policy(record)
        if (not policy or record.status != consts.RUNNING
                or record.task_state or state.state != 'exited'):
            return False
        history = self._history(record)
        if history.pending:
            return True
        if history.ended_by_user:
            self.forget(record)
            return False
        if (state.finished_at or 0) - (state.started_at or 0) >= _STABLE:
            history.pause = _FIRST / 2
        if policy == 'on-failure' and (
                state.exit_code == 0 or most and history.count >= most):
            self.forget(record)
            return False
        history.count += 1
        history.pause = min(2 * history.pause, _LONGEST)
        history.pending = True
        LOG.info('Container %s ended with exit code %s; its restart policy '
                 '%s starts it again in %.1f s', record.uuid,
                 state.exit_code, policy, history.pause)
        zun_utils.spawn_n(self._restart, record.uuid, history)
        return True

    def _restart(self, uuid: str, history: _History) -> None:
        time.sleep(history.pause)

        # the lock that Zun's manager takes for each operation
        @zun_utils.synchronized(uuid)
        def restart() -> None:
            if self._known.get(uuid) is history:
                self._start_again(uuid, history)
        try:
            restart()
        except Exception as e:
            LOG.warning('Cannot restart container %s: %s', uuid,
                        errors.text(e))
        finally:
            history.pending = history.again
        if history.again:
            history.again = False
            history.pause = min(2 * history.pause, _LONGEST)
            zun_utils.spawn_n(self._restart, uuid, history)

    def _start_again(self, uuid: str, history: _History) -> None:
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


def _policy(record: Any) -> tuple[str, int]:
    """Return the policy, '' for none, and the most restarts, 0 for any."""
    policy = record.restart_policy or {}
    name = policy.get('Name') or 'no'
    if name == 'no':
        return '', 0
    return name, int(policy.get('MaximumRetryCount') or 0)
