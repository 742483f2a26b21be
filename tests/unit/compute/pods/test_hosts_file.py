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

import pathlib
import stat

import fixtures
from tests.unit import base
from tests.unit.compute.pods import test_cri_config

from kata_openstack.compute.pods import hosts_file
from kata_openstack import objects


def make_pod(*addresses, **fields):
    return test_cri_config.make_pod(vifs=[objects.Vif(
        port_id='p', network_id='n', mac_address='m', vif_type='ovs',
        fixed_ips=[objects.FixedIP(address=address, prefixlen=24)])
        for address in addresses], **fields)


class HostsFileTest(base.TestCase):

    def lines(self, *addresses, **fields):
        return [line.split('\t') for line in hosts_file.content(
            make_pod(*addresses, **fields)).splitlines()]

    def test_own_name_and_addresses(self):
        lines = self.lines('192.0.2.5', '2001:db8::5', hostname='web1')
        self.assertEqual(['127.0.0.1', 'localhost'], lines[0])
        self.assertEqual([['192.0.2.5', 'web1'], ['2001:db8::5', 'web1']],
                         lines[-2:])

    def test_a_name_with_dots_has_a_short_one(self):
        self.assertEqual(
            ['192.0.2.5', 'web1.example.org web1'],
            self.lines('192.0.2.5', hostname='web1.example.org')[-1])

    def test_no_name_and_no_address(self):
        pod = make_pod()
        self.assertEqual(f'127.0.1.1\t{pod.uuid[:12].rstrip("-")}',
                         hosts_file.content(pod).splitlines()[-1])

    def test_a_new_vm_has_a_new_file(self):
        """A container that still has the former one does not see it."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path = pathlib.Path(hosts_file.of_pod(folder, make_pod('192.0.2.5')))
        self.assertIn('192.0.2.5', path.read_text())
        self.assertEqual(0o644, stat.S_IMODE(path.stat().st_mode))
        with path.open('a') as opened:
            opened.write('a line of the user\n')
            opened.flush()
            # another container of a running pod gets the existing file
            self.assertEqual(str(path),
                             hosts_file.of_pod(folder, make_pod()))
            self.assertIn('of the user', path.read_text())
            new = make_pod('192.0.2.6')
            hosts_file.write(folder, new)
            opened.write('another\n')
        self.assertEqual(hosts_file.content(new), path.read_text())
        self.assertEqual(['hosts'], [p.name for p in folder.iterdir()])
