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

"""Interfaces between two real network namespaces."""

import subprocess
import threading

from tests.unit import base
from tests.unit import network_namespace

from kata_openstack.compute.network.vif import link
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.embedded.common import netlink
from kata_openstack.runtime.embedded.common import syscalls

DEVICE = 'tap0123'


class LinkTest(base.TestCase):

    def setUp(self):
        super().setUp()
        network_namespace.enter_new(self)
        self.netns = self.namespace()

    def namespace(self):
        """Return the path of another namespace, which a thread keeps."""
        path, ready, end = [], threading.Event(), threading.Event()

        def keep():
            syscalls.unshare(syscalls.CLONE_NEWNET)
            path.append(f'/proc/self/task/{threading.get_native_id()}/ns/net')
            ready.set()
            end.wait()
        thread = threading.Thread(target=keep)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(end.set)
        ready.wait()
        return path[0]

    def create(self, *fixed_ips, ifname='eth0', **fields):
        link.create_pair(objects.Vif(**{
            'port_id': 'p', 'network_id': 'n', 'vif_type': 'ovs',
            'mac_address': 'fa:16:3e:00:00:01', 'mtu': 1442,
            'fixed_ips': list(fixed_ips), **fields}),
            DEVICE if ifname == 'eth0' else f'tap{ifname}', self.netns,
            ifname, owner='sandbox-1', tx_offload=True)

    def inside(self, function):
        found = []
        link.in_namespace(self.netns, lambda: found.append(function()))
        return found[0]

    def ip(self, *command):
        return self.inside(lambda: subprocess.run(
            ['ip', '-o', *command], capture_output=True, text=True,
            check=True).stdout)

    def routes(self):
        """Return (destination, gateway, onlink) of each route."""
        def read():
            with netlink.Netlink() as net:
                return sorted((r['destination'], r['gateway'], r['onlink'])
                              for r in net.routes())
        return self.inside(read)

    def test_what_is_created(self):
        self.create(objects.FixedIP(address='192.0.2.5', prefixlen=24))
        self.assertEqual('sandbox-1', link.alias(DEVICE))
        shown = self.ip('link', 'show', 'eth0')
        for part in ('fa:16:3e:00:00:01', 'mtu 1442', 'state UP'):
            self.assertIn(part, shown)
        self.assertIn('UP', self.ip('link', 'show', 'lo'))
        with netlink.Netlink() as net:
            outside, = (each for each in net.links()
                        if each['name'] == DEVICE)
        self.assertEqual(1442, outside['mtu'])
        self.assertTrue(outside['flags'] & netlink.IFF_UP)
        link.delete('p', DEVICE)
        link.delete('p', DEVICE)
        self.assertFalse(link.exists(DEVICE))
        self.assertEqual('', link.alias(DEVICE))

    def test_ipv6(self):
        self.create(objects.FixedIP(
            address='2001:db8::5', prefixlen=64, gateway='2001:db8::1',
            routes=[objects.Route(destination='2001:db8:9::/48',
                                  gateway='2001:db8::9')]))
        shown = self.ip('-6', 'address', 'show', 'eth0')
        self.assertIn('2001:db8::5/64', shown)
        # it can be used at once
        self.assertNotIn('tentative', shown.split('2001:db8::5')[1]
                         .splitlines()[0])
        self.assertEqual([('2001:db8:9::/48', '2001:db8::9', False),
                          ('::/0', '2001:db8::1', False)], self.routes())

    def test_both_families(self):
        self.create(
            objects.FixedIP(address='192.0.2.5', prefixlen=24,
                            gateway='192.0.2.1'),
            objects.FixedIP(address='2001:db8::5', prefixlen=64,
                            gateway='fe80::1'))
        self.assertEqual([('0.0.0.0/0', '192.0.2.1', False),
                          ('::/0', 'fe80::1', False)], self.routes())

    def test_gateways_outside_of_the_subnet(self):
        self.create(
            objects.FixedIP(address='192.0.2.5', prefixlen=32,
                            gateway='169.254.1.1'),
            objects.FixedIP(address='2001:db8::5', prefixlen=128,
                            gateway='2001:db8:1::1'))
        self.assertEqual([('0.0.0.0/0', '169.254.1.1', True),
                          ('::/0', '2001:db8:1::1', True)], self.routes())

    def test_route_without_gateway(self):
        self.create(objects.FixedIP(
            address='192.0.2.5', prefixlen=24, routes=[objects.Route(
                destination='198.51.100.0/24', gateway='0.0.0.0')]))
        self.assertEqual([('198.51.100.0/24', '', False)], self.routes())

    def test_the_first_gateway_of_each_family(self):
        self.create(objects.FixedIP(address='192.0.2.5', prefixlen=24,
                                    gateway='192.0.2.1'))
        self.create(
            objects.FixedIP(address='198.51.100.5', prefixlen=24,
                            gateway='198.51.100.1'),
            objects.FixedIP(address='2001:db8::5', prefixlen=64,
                            gateway='2001:db8::1'), ifname='eth1')
        self.assertEqual([('0.0.0.0/0', '192.0.2.1', False),
                          ('::/0', '2001:db8::1', False)], self.routes())

    def test_the_host_takes_no_part(self):
        self.create()
        for name, value in (('ipv6/conf/{}/disable_ipv6', '1'),
                            ('ipv4/conf/{}/rp_filter', '1'),
                            ('ipv4/conf/{}/arp_ignore', '8')):
            with open(f'/proc/sys/net/{name.format(DEVICE)}') as file:
                self.assertEqual(f'{value}\n', file.read())

    def test_refusals_leave_nothing(self):
        for words, fields in (
                ('MTU of at least 1280', {'mtu': 1279, 'fixed_ips': [
                    objects.FixedIP(address='2001:db8::5', prefixlen=64)]}),
                ('Correct the subnet', {'fixed_ips': [objects.FixedIP(
                    address='10.0.0.1/24 dev lo\nlink set lo down',
                    prefixlen=24)]}),
                ('route to 2001:db8::/64 via 192.0.2.9', {'fixed_ips': [
                    objects.FixedIP(
                        address='192.0.2.5', prefixlen=24, routes=[
                            objects.Route(destination='2001:db8::/64',
                                          gateway='192.0.2.9')])]})):
            with self.assertRaisesRegex(exception.NetworkFailed, words):
                self.create(**fields)
            self.assertFalse(link.exists(DEVICE))

    def test_no_namespace(self):
        self.netns = '/nowhere'
        self.assertRaises(exception.NetworkFailed, self.create)
        self.assertFalse(link.exists(DEVICE))
