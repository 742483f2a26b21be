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

"""Wait until the ports of a new pod work.

Neutron's agent sets them up when kata-compute has plugged them, while the
virtual machine starts, and while Zun works between create and start. So
usually one look is enough, and an earlier look would not make the agent
faster.
"""

import time
from typing import Any

from neutronclient.common import exceptions as neutron_exc

from kata_openstack import exception

# Seconds between two looks, in the first seconds and then
_FIRST_PAUSE, _PAUSE = 0.1, 1.0
_FIRST_SECONDS = 5.0


class Plugged:
    """The pods whose ports were plugged a moment ago, and not waited for."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # by UUID; monotonic seconds

    def add(self, pod_uuid: str, limit: int) -> None:
        """:param limit: seconds after which nothing needs to wait"""
        now = time.monotonic()
        self._since = {uuid: since for uuid, since in self._since.items()
                       if now - since < limit}
        self._since[pod_uuid] = now

    def take(self, pod_uuid: str, limit: int) -> bool:
        """Return whether to wait for the pod's ports; forget the pod."""
        since = self._since.pop(pod_uuid, None)
        return since is not None and time.monotonic() - since < limit


def wait(neutron: Any, pod_uuid: str, host: str, limit: int) -> None:
    """Wait until Neutron reports all ports of a pod as ACTIVE.

    :param neutron: a client of the service user.
    :param host: of the pod.
    :param limit: seconds; 0: do not wait.
    :raises NetworkFailed:
    """
    begun = time.monotonic()
    while limit:
        why = _inactive(neutron, pod_uuid)
        if not why:
            return
        waited = time.monotonic() - begun
        if waited > limit:
            raise exception.NetworkFailed(
                id=pod_uuid, why=f'{why}, after {limit} s',
                remedy='Check that the network agent of the host is alive: '
                       f'openstack network agent list --host {host}. If it '
                       'only needs more time, set a larger [kata_driver] '
                       'port_timeout.')
        time.sleep(_FIRST_PAUSE if waited < _FIRST_SECONDS else _PAUSE)


def _inactive(neutron: Any, pod_uuid: str) -> str:
    """Return why the ports do not work yet, '' if they do."""
    try:
        found = neutron.list_ports(
            device_id=pod_uuid,
            fields=['id', 'status', 'admin_state_up'])['ports']
    except neutron_exc.NeutronException as e:  # perhaps temporary
        return f'Neutron does not answer: {e}'
    # Users may set a port of their own down on purpose.
    down = [port['id'] for port in found
            if port['status'] != 'ACTIVE' and port.get('admin_state_up', True)]
    return f'port {", ".join(down)} is not ACTIVE in Neutron' if down else ''
