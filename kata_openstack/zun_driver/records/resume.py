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

"""Resumes containers after a boot at which kata-compute was late.

With ``[compute] resume_container_state``, Zun starts the containers again that
run according to its records, but not on the node. It compares only once, when
zun-compute starts. If the node does not answer then, this module compares when
it does.
"""

from collections.abc import Iterable
from typing import Any

from oslo_log import log as logging
from zun.common import consts
from zun.compute import container_actions
import zun.conf

from kata_openstack.zun_driver.records import background

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)


class Resumer:

    def __init__(self) -> None:
        self._waiting: set[str] = set()

    def remember(self, records: Iterable[Any]) -> None:
        """Note which containers run according to their records."""
        if CONF.compute.resume_container_state:
            self._waiting = {record.uuid for record in records
                             if record.status == consts.RUNNING}

    def forget(self, record: Any) -> None:
        """Leave a container alone, because a user wants it to be stopped."""
        self._waiting.discard(record.uuid)

    def resume(self, context: Any, record: Any, manager: Any) -> bool:
        """Start a container again if it waits for this and has stopped.

        :param record: a container as just updated from the node
        :returns: whether it is started
        """
        if record.uuid not in self._waiting:
            return False
        self._waiting.remove(record.uuid)
        record.refresh()
        if record.status != consts.STOPPED or record.task_state:
            return False
        LOG.info('Starting container %s again: it ran before the node or '
                 'containerd was restarted', record.uuid)
        manager.container_start(background.request(
            context, record, container_actions.START), record)
        return True
