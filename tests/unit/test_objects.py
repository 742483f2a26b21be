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
from kata_openstack.runtime.containerd import grpc_channel
from kata_openstack import schema
from tests.unit import base


UUID = '5a4f0e6c-3a0b-4f5e-9d8e-1f2a3b4c5d6e'


def vif(**changes):
    return {'port_id': UUID, 'network_id': UUID,
            'mac_address': 'fa:16:3e:00:00:01', 'vif_type': 'ovs',
            'details': {'datapath_type': 'netdev'},
            'fixed_ips': [ip()], **changes}


def ip(**changes):
    return {'address': '10.0.0.2', 'prefixlen': 24, **changes}


def pod(**changes):
    values = {
        'uuid': UUID, 'kind': 'container', 'project_id': 'p', 'user_id': 'u',
        'containers': [{'uuid': UUID, 'name': 'web', 'image': 'r/i:t',
                         'environment': {'A': 'b'}, 'cpus': 1}],
        'vifs': [vif()]}
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
        for value in ('x' * (schema.MAX_STRING + 1), 'nul\0inside', 1):
            self.assertRaises(exception.InvalidInput,
                              objects.Pod.from_dict, pod(hostname=value))
        self.assertRaises(exception.InvalidInput, objects.Pod.from_dict,
                          pod(needs=['x'] * (schema.MAX_ITEMS + 1)))

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

    def test_forms(self):
        """No field takes a path, an option or a second line."""
        container = pod()['containers'][0]
        for bad in (
                {'uuid': '../../etc'}, {'uuid': 'x' * 36},
                {'uuid': UUID.replace('-', '')}, {'uuid': UUID.upper()},
                {'uuid': UUID + '\n'}, {'kind': 'vm'},
                {'isolation': 'some'}, {'project_id': 'p\nq'},
                {'user_id': 'u/..'}, {'project_id': 'p' * 256},
                {'containers': [{**container, 'uuid': '../x'}]},
                *({'containers': [{**container, 'cpus': value}]} for value in (
                    -1, 1e9, float('nan'), float('inf'), 2 ** 70, '1')),
                *({'containers': [{**container, 'memory_mib': value}]}
                  for value in (-1, 2 ** 41, 2 ** 70, 1.5, True)),
                *({'vifs': [vif(**fields)]} for fields in (
                    {'port_id': '../x'}, {'network_id': ''},
                    {'mac_address': 'fa:16:3e:00:00:01 up'},
                    {'vif_type': '-x'}, {'mtu': 1}, {'mtu': 2 ** 20},
                    {'details': {'x': 'y' * schema.MAX_DETAILS}})),
                *({'vifs': [vif(fixed_ips=[ip(**fields)])]} for fields in (
                    {'address': '10.0.0.2\nlink del lo'},
                    {'address': 'fe80::1%eth0'}, {'prefixlen': 129},
                    {'gateway': 'x'}, {'gateway': ''},
                    {'routes': [{'destination': 'default', 'gateway':
                                 '10.0.0.1'}]},
                    {'routes': [{'destination': '10.0.0.0/8', 'gateway':
                                 '10.0.0.1 dev lo'}]}))):
            error = self.assertRaises(
                exception.InvalidInput, objects.Pod.from_dict, pod(**bad))
            self.assertIn(' Use ', str(error), bad)

    def test_forms_that_are_right(self):
        objects.Pod.from_dict(pod(
            project_id='', user_id='ldap:o=x,'.replace(',', '.'),
            vifs=[vif(mtu=9000, fixed_ips=[
                ip(address='2001:db8::2', prefixlen=64, gateway='fe80::1',
                   routes=[{'destination': '::/0', 'gateway': 'fe80::1'},
                           {'destination': '10.0.0.0/8',
                            'gateway': '10.0.0.1'}])])]))

    def test_no_password_is_in_an_error(self):
        error = self.assertRaises(
            exception.InvalidInput, objects.Credentials.from_dict,
            {'username': 'u', 'password': 'hunter2\0'})
        self.assertIn('Credentials.password', str(error))
        self.assertNotIn('hunter2', str(error))


class TestSizeOfRequests(base.TestCase):

    def call(self, **given):
        return schema.arguments('create_pod', given, {'pod': objects.Pod})

    def pod(self, size):
        """A pod whose texts have some more than ``size`` bytes."""
        text = 'ä' * (schema.MAX_STRING // 2)  # two bytes each
        return pod(containers=[{
            'uuid': UUID, 'name': 'web', 'image': 'r/i:t',
            'command': [text] * (size // schema.MAX_STRING)}])

    def test_sum(self):
        self.call(pod=self.pod(schema.MAX_REQUEST - schema.MAX_STRING))
        error = self.assertRaises(exception.InvalidInput, self.call,
                                  pod=self.pod(schema.MAX_REQUEST))
        self.assertRegex(str(error), r"Invalid create_pod '83\d{5} bytes'")
        self.assertIn(f'at most {schema.MAX_REQUEST} bytes', str(error))

    def test_all_parts_count(self):
        half = 'x' * (schema.MAX_REQUEST // 2)
        for large in ([half, half], (half, [half]), {half: 1, 'a': half},
                      half + half + '\udc80', [0] * (schema.MAX_REQUEST // 8)):
            error = self.assertRaises(exception.InvalidInput, self.call,
                                      pod=large)
            self.assertIn('bytes', str(error))

    def test_it_fits_into_a_message(self):
        self.assertLess(schema.MAX_REQUEST, grpc_channel._MAX_MESSAGE)
