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

"""VIF type ovs: a veth on the integration bridge of Open vSwitch.

The port has the external_ids by which Neutron's agent finds it. The agent
owns the bridge: it is never created or changed here. os-vif does change it,
and sets the datapath type back to "system", which breaks a userspace switch.
"""

from collections.abc import Callable
import subprocess

from kata_openstack.compute.network.vif import base
from kata_openstack.compute.network.vif import link
from kata_openstack import exception
from kata_openstack import objects

# The external_id that marks our ports on the bridge; its value: the port's ID.
_OURS = 'kata-openstack-port'


class OvsPlugin(base.VifPlugin):

    def _vsctl(self, what: str, *command: str) -> str:
        """Run ovs-vsctl and return its standard output.

        Not with oslo.concurrency: it sets a preexec_fn, with which Python
        calls fork, and that breaks gRPC. Without it, subprocess calls vfork.

        :param what: pod or port, for the error
        :raises NetworkFailed: with the program's error output
        """
        limit = self.conf.cni.timeout
        remedy = "See kata-compute's log on the node."
        try:
            done = subprocess.run(
                ['ovs-vsctl', f'--db={self.conf.vif_ovs.ovsdb_connection}',
                 f'--timeout={limit}', *command],
                text=True, capture_output=True, timeout=limit + 5)
            if done.returncode == 0:
                return done.stdout
            why = ' '.join((done.stderr or done.stdout).split())
        except subprocess.TimeoutExpired:
            why = f'no result within {limit} s'
        except FileNotFoundError:
            why = 'not installed'
            remedy = 'Install openvswitch-switch on the node.'
        raise exception.NetworkFailed(id=what, why=f'ovs-vsctl: {why}',
                                      remedy=remedy)

    def check(self, vif: objects.Vif) -> None:
        # The agent's iptables rules apply to a Linux bridge between port and
        # switch, which plug() does not create: no rule would be enforced.
        if vif.details.get('ovs_hybrid_plug'):
            raise exception.NetworkFailed(
                id=vif.port_id,
                why='the Neutron agent of this node enforces security groups '
                    'with iptables (ovs_hybrid_plug), which does not work '
                    'for containers in virtual machines',
                remedy='Set "firewall_driver = openvswitch" in the '
                       '[securitygroup] section of the Open vSwitch agent '
                       'and restart the agent. Then delete the container '
                       'and create it again.')

    def plug(self, vif: objects.Vif, netns: str, ifname: str, *,
             pod_uuid: str, sandbox_id: str) -> None:
        device = base.device_name(vif.port_id)
        bridge = (vif.details.get('bridge_name')
                  or self.conf.vif_ovs.integration_bridge)
        datapath = (self.conf.vif_ovs.datapath_type
                    or vif.details.get('datapath_type') or 'system')
        link.create_pair(vif, device, netns, ifname, owner=sandbox_id,
                         tx_offload=datapath != 'netdev')
        external_ids = {'iface-id': vif.port_id,
                        'attached-mac': vif.mac_address,
                        'iface-status': 'active', 'vm-uuid': pod_uuid,
                        _OURS: vif.port_id}
        try:
            self._vsctl(
                vif.port_id, '--', '--if-exists', 'del-port', device,
                '--', 'add-port', bridge, device,
                '--', 'set', 'Interface', device,
                *(f'external_ids:{key}="{value}"'
                  for key, value in external_ids.items()))
        except exception.NetworkFailed as e:
            link.delete(vif.port_id, device)
            raise exception.NetworkFailed(
                id=vif.port_id, why=e.kwargs.get('why', str(e)),
                remedy='Check that Open vSwitch and the Neutron agent run on '
                       'the node, and [vif_ovs] ovsdb_connection.') from e

    def unplug(self, vif: objects.Vif) -> None:
        self._remove(base.device_name(vif.port_id))

    def _remove(self, device: str) -> None:
        # the interface first: without it a stale OVSDB row is harmless
        link.delete(device, device)
        self._vsctl(device, '--if-exists', 'del-port', device)

    def reconcile(self, port_ids: Callable[[], set[str]]) -> list[str]:
        listed = self._vsctl(
            'reconciliation', '--bare', '--columns=name,external_ids',
            'find', 'Interface', f'external_ids:{_OURS}!=""')
        known = port_ids()
        removed = []
        for record in listed.split('\n\n'):
            name, _, ids = record.strip().partition('\n')
            ours = [item.partition('=')[2] for item in ids.split()
                    if item.startswith(f'{_OURS}=')]
            if ours and ours[0] not in known:
                self._remove(name)
                removed.append(name)
        return removed
