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
from kata_openstack import objects
from tests.unit import base


def pod(**changes):
    values = {
        'uuid': '0000', 'kind': 'container', 'project_id': 'p', 'user_id': 'u',
        'containers': [{'uuid': '0000', 'name': 'web', 'image': 'r/i:t',
                         'environment': {'A': 'b'}, 'cpus': 1}],
        'vifs': [{'port_id': '1', 'network_id': 'n', 'mac_address': 'm',
                   'vif_type': 'ovs', 'details': {'datapath_type': 'netdev'},
                   'fixed_ips': [{'address': '10.0.0.2', 'prefixlen': 24}]}]}
    return {**values, **changes}


class TestPod(base.TestCase):

    def test_round_trip(self):
        once = objects.Pod.from_dict(pod())
        self.assertEqual(once, objects.Pod.from_dict(once.to_dict()))
        self.assertEqual(1.0, once.containers[0].cpus)

    def test_unknown_field_is_named(self):
        error = self.assertRaises(exception.InvalidInput,
                                  objects.Pod.from_dict, pod(colour='red'))
        self.assertIn("'colour'", str(error))

    def test_missing_field(self):
        data = pod()
        del data['project_id']
        error = self.assertRaises(exception.InvalidInput,
                                  objects.Pod.from_dict, data)
        self.assertIn('project_id', str(error))

    def test_wrong_type_names_the_field(self):
        error = self.assertRaises(exception.InvalidInput,
                                  objects.Pod.from_dict,
                                  pod(privileged='yes'))
        self.assertIn('Pod.privileged', str(error))

    def test_bounds(self):
        for value in ('x' * (objects.MAX_STRING + 1), 'nul\0inside', None, 1):
            self.assertRaises(exception.InvalidInput,
                              objects.Pod.from_dict, pod(user_id=value))
        self.assertRaises(exception.InvalidInput, objects.Pod.from_dict,
                          pod(needs=['x'] * (objects.MAX_ITEMS + 1)))

    def test_no_value_of_an_environment_is_in_an_error(self):
        for environment in ({'PASSWORD': 'hunter2\0'}, {'PASSWORD': 42},
                            {'hunter2\0': 'x'}, ['hunter2']):
            data = pod()
            data['containers'][0]['environment'] = environment
            error = self.assertRaises(exception.InvalidInput,
                                      objects.Pod.from_dict, data)
            self.assertIn('Container.environment', str(error))
            self.assertNotIn('hunter2', str(error))
            self.assertNotIn("'42'", str(error))

    def test_long_values_are_cut_in_errors(self):
        error = self.assertRaises(exception.InvalidInput,
                                  objects.Pod.from_dict,
                                  pod(privileged='s' * 500))
        self.assertNotIn('s' * 40, str(error))
