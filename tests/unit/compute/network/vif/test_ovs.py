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

from tests.unit import base

from kata_openstack.compute.network.vif import ovs


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
