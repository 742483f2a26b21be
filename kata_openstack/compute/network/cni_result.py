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

"""The result of a CNI ADD, from the VIFs of a pod."""

from collections.abc import Sequence
from typing import Any

from kata_openstack import objects

# containerd requires an address of eth0. A pod without a port has no
# interface, so this link-local address is reported instead.
_NO_ADDRESS = '169.254.0.1/32'


def success(vifs: Sequence[objects.Vif], netns: str) -> dict[str, Any]:
    """Return a success result of the CNI specification (0.3 to 1.0).

    It has no cniVersion, which depends on the request.
    """
    interfaces: list[dict[str, Any]] = []
    ips: list[dict[str, Any]] = []
    routes: list[dict[str, Any]] = []
    for index, vif in enumerate(vifs):
        interfaces.append({'name': f'eth{index}', 'mac': vif.mac_address,
                           'sandbox': netns})
        for fixed in vif.fixed_ips:
            address: dict[str, Any] = {
                'address': f'{fixed.address}/{fixed.prefixlen}',
                'interface': index}
            if fixed.gateway:
                address['gateway'] = fixed.gateway
            ips.append(address)
            routes += [{'dst': r.destination, 'gw': r.gateway}
                       for r in fixed.routes]
    if not vifs:
        interfaces.append({'name': 'eth0', 'sandbox': netns})
        ips.append({'address': _NO_ADDRESS, 'interface': 0})
    return {'interfaces': interfaces, 'ips': ips, 'routes': routes, 'dns': {}}
