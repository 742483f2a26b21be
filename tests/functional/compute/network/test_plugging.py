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

"""VMs on a real switch, through containerd and kata-cni."""

import socket
import subprocess

from tests.functional.compute.network import test_vif
from tests.functional import kata
from tests.functional import ovs
from tests.unit import base

from kata_openstack.compute.network.vif import base as vif_base
from kata_openstack import objects

_IPV4 = '10.214.0.{}'
_IPV6 = 'fd00:214::{}'


def _fixed_ip(pattern, number):
    ipv6 = pattern is _IPV6
    return objects.FixedIP(address=pattern.format(number),
                           prefixlen=64 if ipv6 else 24,
                           gateway='fe80::1' if ipv6 else '10.214.0.1')


class NetworkTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.switch = self.useFixture(ovs.OpenVSwitch())
        self.node = self.useFixture(kata.Node({
            ('vif_ovs', 'ovsdb_connection'): self.switch.connection}))

    def ports(self):
        return sorted(self.switch.vsctl('list-ports', ovs.BRIDGE).split())

    def listens(self, pod):
        """Wait until its server does; the pod's start does not."""
        self.node.execute(pod, 'sh', '-c', 'until netstat -lnt | '
                          'grep -q ":80 "; do sleep 0.1; done')

    def test_two_vms_talk(self):
        vifs = [test_vif.make_vif(number) for number in (11, 12)]
        one = self.node.run(['sh', '-c', 'echo page > /tmp/index.html; '
                             'httpd -f -p 80 -h /tmp'],
                            vifs=[vifs[0].to_dict()])
        two = self.node.run(vifs=[vifs[1].to_dict()])
        self.assertEqual(
            sorted(vif_base.device_name(v.port_id) for v in vifs),
            self.ports())
        self.assertIn('10.214.0.12/24',
                      self.node.execute(two, 'ip', 'address'))
        self.listens(one)
        self.assertEqual('page\n', self.node.execute(
            two, 'wget', '-q', '-O', '-', 'http://10.214.0.11/index.html'))
        self.assertGreater(
            self.node.call('stats', two['uuid'])['net_rx'], 0)

        # a stopped pod loses its interface, and gets it back at start
        self.node.call('stop_pod', one['uuid'], 0)
        self.assertEqual([vif_base.device_name(vifs[1].port_id)],
                         self.ports())
        self.node.call('start_pod', one)
        self.listens(one)
        self.assertEqual('page\n', self.node.execute(
            two, 'wget', '-q', '-O', '-', 'http://10.214.0.11/index.html'))

        for pod in (one, two):
            self.node.call('delete_pod', pod['uuid'])
        self.assertEqual([], self.ports())

    def talk(self, *patterns):
        """Run a server and a client, and fetch a page by each address.

        :returns: routes of the client
        """
        server, client = (
            test_vif.make_vif(number, fixed_ips=[
                _fixed_ip(pattern, number) for pattern in patterns]).to_dict()
            for number in (11, 12))
        one = self.node.run(['sh', '-c', 'echo page > /tmp/index.html; '
                             'httpd -f -p 80 -h /tmp'], vifs=[server])
        two = self.node.run(vifs=[client])
        self.listens(one)
        for pattern in patterns:
            address = pattern.format(11)
            if ':' in address:
                address = f'[{address}]'
            self.assertEqual('page\n', self.node.execute(
                two, 'wget', '-q', '-O', '-', f'http://{address}/index.html'))
        shown = self.node.execute(two, 'ip', 'address', 'show', 'eth0')
        self.assertIn('mtu 1442', shown)
        self.assertNotIn('tentative', shown)
        return self.node.execute(two, 'sh', '-c', 'ip route; ip -6 route')

    def test_ipv6(self):
        self.assertIn('default via fe80::1 dev eth0', self.talk(_IPV6))

    def test_both_families(self):
        routes = self.talk(_IPV4, _IPV6)
        self.assertIn('default via fe80::1 dev eth0', routes)
        self.assertIn('default via 10.214.0.1 dev eth0', routes)

    def test_what_was_left_is_removed_at_start(self):
        vif = test_vif.make_vif(11)
        pod = self.node.run(vifs=[vif.to_dict()])
        device = vif_base.device_name(vif.port_id)
        self.node.service.stop()
        # simulate a pod that ended while kata-compute was down, so that DEL
        # could not reach it
        subprocess.run(['ip', 'link', 'delete', device], check=True)
        self.switch.vsctl(
            'add-port', ovs.BRIDGE, 'tapgone', '--', 'set', 'Interface',
            'tapgone', 'type=internal', 'external_ids:kata-openstack-port=x')
        self.node.start()
        self.assertEqual([device], self.ports())
        self.node.call('delete_pod', pod['uuid'])
        self.assertEqual([], self.ports())
        self.assertNotIn(device, [n for _, n in socket.if_nameindex()])
