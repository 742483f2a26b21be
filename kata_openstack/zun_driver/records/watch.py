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

"""Follow containers that end by themselves, without waiting for the sync.

The node tells which pods have changed. The periodic sync of Zun, once a
minute, finds what this has missed.
"""

from collections.abc import Callable
import threading
import time
from typing import Any

from oslo_log import log as logging
from zun.common import utils as zun_utils
import zun.conf

from kata_openstack import exception
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.records import background

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)
_PATIENCE = 25  # seconds for one call
_PAUSE = 5  # seconds after an error
_UPGRADE = 300  # seconds, while the node does not know the call


class Watch:
    """One green thread, and one for each pod that changed.

    :param changed: called with the UUID of each pod that changed, while no
        operation of Zun has it.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._waiting: set[str] = set()  # pods that an operation still has
        self._started = False

    def start(self) -> None:
        """Start the thread, unless it has started."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._follow, name='kata-watch',
                             daemon=True).start()

    def _follow(self) -> None:
        known: dict[str, Any] = {'epoch': '', 'since': 0}
        failing = False
        while True:
            try:
                known = self.step(known)
                failing = False
            except exception.KataError as e:
                if not failing:
                    LOG.warning('Containers that end show their state only '
                                'after up to a minute: %s', errors.text(e))
                failing = True
                # an old node logs each such call with a traceback
                time.sleep(_UPGRADE if isinstance(
                    e, exception.VersionMismatch) else _PAUSE)
            except Exception:
                LOG.exception('Cannot follow the changes on the node')
                time.sleep(_PAUSE)

    def step(self, known: dict[str, Any]) -> dict[str, Any]:
        """Wait for changes once.

        :param known: the answer of the last call
        :raises KataError: the node does not answer
        """
        found = client.api().wait_for_changes(
            client.context(None), CONF.host, known['epoch'], known['since'],
            _PATIENCE)
        for uuid in found['pods'] or ():
            # one that waits already will see this change too
            if uuid not in self._waiting:
                self._waiting.add(uuid)
                zun_utils.spawn_n(self._handle, uuid)
        return found

    def _handle(self, uuid: str) -> None:
        def handle() -> None:
            self._waiting.discard(uuid)
            self._changed(uuid)
        try:
            background.exclusively(
                uuid, handle, f'Cannot update {uuid}; the next sync does it')
        finally:
            self._waiting.discard(uuid)
