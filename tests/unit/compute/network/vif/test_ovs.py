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

"""The Open vSwitch plugin."""

from oslo_config import cfg
from tests.unit import base

from kata_openstack.compute.network import plugging
from kata_openstack.compute.network.vif import ovs
from kata_openstack import exception
from kata_openstack import objects


class OvsCheckTest(base.TestCase):

    def expect(self, **details):
        """:returns: True if a pod with such a port may be created"""
        network = plugging.Network(cfg.ConfigOpts(), None)
        vif = objects.Vif(
            port_id='p', network_id='n', mac_address='m', vif_type='ovs',
            details=details, fixed_ips=[objects.FixedIP(
                address='192.0.2.5', prefixlen=24)])
        with network.expect('pod', [vif]):
            return True

    def test_hybrid_plug_is_refused(self):
        """Its security groups would not be enforced."""
        error = self.assertRaises(exception.NetworkFailed, self.expect,
                                  ovs_hybrid_plug=True, port_filter=True)
        self.assertIn('firewall_driver = openvswitch', str(error))
        self.assertTrue(self.expect(ovs_hybrid_plug=False, port_filter=True))
        self.assertTrue(self.expect(bridge_name='br-int'))


class OvsReconcileTest(base.TestCase):

    def test_pod_that_is_made_while_ports_are_listed(self):
        """The ports in use are read after the interfaces are listed."""
        known = set()
        plugin = ovs.OvsPlugin(None)

        def vsctl(what, *command):
            known.add('new')
            return ('tapnew\nkata-openstack-port=new\n\n'
                    'tapgone\nkata-openstack-port=gone\n')
        plugin._vsctl = vsctl
        removed = []
        plugin._remove = removed.append
        self.assertEqual(['tapgone'], plugin.reconcile(lambda: set(known)))
        self.assertEqual(['tapgone'], removed)
