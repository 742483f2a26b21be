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

from kata_openstack import exception
from kata_openstack.zun_driver.network import ports as module
from tests.unit.zun_driver import base


class TestBinding(base.DriverTestCase):

    def attach(self, **port):
        """Attach a port that Neutron returns with these fields."""
        self.neutron.binding = port
        return module.Network(self.context).attach(
            self.container(), self.requested())

    def refused(self, error, **port) -> str:
        raised = self.assertRaises(error, self.attach, **port)
        self.assertEqual({}, self.neutron.ports)
        return str(raised)

    def test_security_groups_without_a_filter(self) -> None:
        details = {'port_filter': False, 'bridge_name': 'br-int'}
        text = self.refused(exception.NetworkFailed,
                            **{'binding:vif_details': details})
        self.assertIn('port_filter', text)
        self.assertIn('firewall_driver', text)
        for fields in ({'security_groups': []},
                       {'binding:vif_details': {'port_filter': True}},
                       {'binding:vif_details': {}}):
            self.assertTrue(self.attach(
                **{'binding:vif_details': details, **fields}).vifs)

    def test_vnic_type(self) -> None:
        for kind in ('direct', 'vdpa', 'remote-managed'):
            text = self.refused(exception.Unsupported,
                                **{'binding:vnic_type': kind})
            self.assertIn(f'VNIC type {kind}', text)
            self.assertIn('--vnic-type normal', text)
        self.assertTrue(self.attach(**{'binding:vnic_type': 'normal'}).vifs)
