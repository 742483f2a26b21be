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

import subprocess

from kata_openstack.runtime.embedded.common import netlink
from tests.unit import base
from tests.unit import network_namespace


class TestNetlink(base.TestCase):
    """Netlink in a private network namespace."""

    MAC = '52:54:00:12:34:56'

    def setUp(self):
        super().setUp()
        network_namespace.enter_new(self)
        self.net = netlink.Netlink()
        self.addCleanup(self.net.__exit__)
        subprocess.run(['ip', 'link', 'add', 'one', 'address', self.MAC,
                        'type', 'veth', 'peer', 'name', 'two'], check=True)
        for link in self.net.links():
            self.net.set_link(link['index'], up=True)
        self.index = self.link('one')['index']

    def link(self, name):
        return next(link for link in self.net.links()
                    if link['name'] == name)

    def test_a_link(self):
        self.assertEqual(self.MAC, self.link('one')['mac'])
        self.assertTrue(self.link('one')['flags'] & netlink.IFF_UP)
        self.assertTrue(self.link('lo')['flags'] & netlink.IFF_LOOPBACK)
        self.net.set_link(self.index, mtu=1442)
        self.net.set_link(self.index, up=False, name='three')
        self.assertEqual(1442, self.link('three')['mtu'])

    def test_addresses(self):
        for address, prefixlen in (('192.0.2.5', 24), ('2001:db8::5', 64),
                                   ('198.51.100.1', 32)):
            self.net.add_address(self.index, address, prefixlen)
            self.assertIn({'index': self.index, 'address': address,
                           'prefixlen': prefixlen}, self.net.addresses())

    def test_addresses_from_router_advertisements_are_left_out(self):
        subprocess.run(
            ['ip', 'address', 'add', '2001:db8::7/64', 'dev', 'one',
             'valid_lft', '600', 'preferred_lft', '300'], check=True)
        self.assertEqual([], self.net.addresses())

    def test_routes(self):
        self.net.add_address(self.index, '192.0.2.5', 24)
        self.net.add_address(self.index, '2001:db8::5', 64)
        routes = [
            {'destination': '0.0.0.0/0', 'gateway': '192.0.2.1',
             'metric': 0, 'onlink': False},
            {'destination': '198.51.100.0/24', 'gateway': '192.0.2.7',
             'metric': 50, 'onlink': False},
            {'destination': '203.0.113.0/24', 'gateway': '', 'metric': 0,
             'onlink': False},
            {'destination': '169.254.169.254/32', 'gateway': '10.9.9.9',
             'metric': 0, 'onlink': True},
            {'destination': '2001:db8:1::/48', 'gateway': '2001:db8::1',
             'metric': 1024, 'onlink': False}]
        for route in routes:
            self.net.add_route(self.index, route['destination'],
                               route['gateway'], route['metric'],
                               route['onlink'])
        found = self.net.routes()
        for route in routes:
            self.assertIn({'index': self.index, **route}, found)
        # routes that the kernel adds for addresses are left out
        self.assertEqual(len(routes), len(found))

    def test_an_error_is_the_kernels(self):
        self.assertRaises(OSError, self.net.set_link, 9999, up=True)

    def test_a_redirect_can_be_set_again(self):
        for _ in range(2):
            self.net.add_ingress(self.index)
            self.net.redirect(self.index, self.link('lo')['index'])
