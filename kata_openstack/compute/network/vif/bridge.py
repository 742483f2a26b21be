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

"""VIF type bridge: a veth on an existing Linux bridge."""

from collections.abc import Callable

from kata_openstack.compute.network.vif import base
from kata_openstack.compute.network.vif import link
from kata_openstack import exception
from kata_openstack import objects


class BridgePlugin(base.VifPlugin):

    def plug(self, vif: objects.Vif, netns: str, ifname: str, *,
             pod_uuid: str, sandbox_id: str) -> None:
        device = base.device_name(vif.port_id)
        # the name that Neutron's Linux bridge drivers use
        bridge = (vif.details.get('bridge_name')
                  or f'brq{vif.network_id[:11]}')
        if not link.exists(bridge):
            raise exception.NetworkFailed(
                id=vif.port_id, why=f'bridge {bridge} does not exist',
                remedy='Check that the Neutron agent runs on the node and '
                       'has created the bridge.')
        link.create_pair(vif, device, netns, ifname, owner=sandbox_id,
                         tx_offload=True)
        try:
            link.set_master(vif.port_id, device, bridge)
        except exception.NetworkFailed:
            link.delete(vif.port_id, device)
            raise

    def unplug(self, vif: objects.Vif) -> None:
        link.delete(vif.port_id, base.device_name(vif.port_id))

    def reconcile(self, port_ids: Callable[[], set[str]]) -> list[str]:
        # The kernel removes a veth with its namespace, that is with its
        # sandbox, and a bridge keeps no record of a removed port.
        return []
