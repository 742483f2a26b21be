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

"""Operations that no user has asked for.

Zun runs all its periodic tasks one after the other in one green thread, so a
deletion that takes minutes must not run in it.
"""

from collections.abc import Callable
import copy
from typing import Any

from oslo_log import log as logging
from zun.common import utils as zun_utils
from zun import objects as zun_objects

from kata_openstack.zun_driver import errors

LOG = logging.getLogger(__name__)
_MOST = 10  # at the same time
_busy: set[str] = set()


def request(context: Any, record: Any, action: str) -> Any:
    """Return the context for an operation of Zun's manager.

    It is a copy, because the operation begins later, when others may have
    used the context. Also adds the action to the container's history, as
    zun-api does; without it, the manager's operation fails.
    """
    context = copy.copy(context)
    context.project_id = record.project_id
    zun_objects.ContainerAction.action_start(
        context, record.uuid, action, want_result=False)
    return context


def start(uuid: str, task: Callable[[], None]) -> bool:
    """Run ``task`` in a green thread, while no operation of Zun has ``uuid``.

    If a task of this object still runs, or too many tasks do, ``task`` is
    dropped. The next periodic sync asks for it again.

    :returns: False if it was dropped
    """
    if uuid in _busy or len(_busy) >= _MOST:
        LOG.debug('Postponed a task of %s: %d tasks still run', uuid,
                  len(_busy))
        return False
    _busy.add(uuid)
    zun_utils.spawn_n(_run, uuid, task)
    return True


def _run(uuid: str, task: Callable[[], None]) -> None:
    try:
        exclusively(uuid, task,
                    f'A task of {uuid} failed; the next sync repeats it')
    finally:
        _busy.discard(uuid)


def exclusively(uuid: str, task: Callable[[], None], failed: str) -> None:
    """Run ``task`` now, while no operation of Zun has ``uuid``.

    :param failed: what the log tells before an error
    """
    try:
        # the lock that Zun's manager takes for each operation
        zun_utils.synchronized(uuid)(task)()
    except Exception as e:
        LOG.warning('%s: %s', failed, errors.text(e))
