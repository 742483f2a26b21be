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

"""A cache of what kata-compute reports about this node."""

import math
import threading
import time
from typing import Any

from oslo_log import log as logging
import zun.conf

from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)
_INFO_MAX_AGE = 90.0  # seconds; zun-compute refreshes it every minute


class NodeInfo:
    """The node's last report.

    Zun reads memory, processors and traits several times during each
    create; the cache reduces this to one request a minute.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._info: dict[str, Any] | None = None
        self._at = -math.inf

    def get(self, *, fresh: bool = False) -> dict[str, Any] | None:
        """Return the report. Never raises: Zun would leave a create half done.

        :param fresh: ask the node, however new the last report is.
        :returns: None if the node does not answer.
        """
        with self._lock:
            age = time.monotonic() - self._at
            if not fresh and age < _INFO_MAX_AGE:
                return self._info
            try:
                self._info = client.api().get_node_info(
                    client.context(None), CONF.host)
            except Exception as e:
                LOG.warning('Reported no runtimes for %s: %s', CONF.host,
                            errors.text(e))
                self._info = None
            self._at = time.monotonic()
            return self._info
