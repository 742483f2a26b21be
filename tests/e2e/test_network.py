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

"""Neutron's addresses and security groups apply to the container."""

from tests.e2e import base


class NetworkTestCase(base.TestCase):

    def addresses(self, container):
        return [address for group in container.addresses.values()
                for address in group]

    def group(self, *protocols):
        """Create a security group that allows these protocols in."""
        network = base.cloud().network
        group = network.create_security_group(name=self.name())
        self.addCleanup(network.delete_security_group, group.id)
        for protocol in protocols:
            network.create_security_group_rule(
                security_group_id=group.id, direction='ingress',
                protocol=protocol, ethertype='IPv4')
        return group

    def wait_active(self, container):
        """Wait until Neutron's agent has configured the ports."""
        for address in self.addresses(container):
            base.wait_until('the port is active', lambda a=address: (
                base.cloud().network.get_port(a['port']).status == 'ACTIVE'))

    def set_groups(self, container, *groups):
        network = base.cloud().network
        for address in self.addresses(container):
            network.update_port(address['port'], security_groups=[
                group.id for group in groups])

    def ping(self, source, address):
        return self.execute(source, f'ping -c 1 -W 2 {address}')[1] == 0

    def fetch(self, source, address):
        output, code = self.execute(
            source, f'timeout 4 wget -q -O - http://{address}/')
        return code == 0 and 'hello' in output


class NetworkAloneTest(NetworkTestCase, base.AloneTestCase):

    def test_port_is_bound_and_freed(self):
        before = self.look()
        container = self.run_container()
        address, = self.addresses(container)
        port = base.cloud().network.get_port(address['port'])
        self.wait_active(container)
        self.assertEqual(address['addr'], port.fixed_ips[0]['ip_address'])
        shown = self.output(container, 'ip addr show eth0')
        self.assertIn(f'inet {address["addr"]}/24', shown)
        self.assertIn(port.mac_address, shown)
        self.remove(container.uuid)
        self.assert_nothing_left(before)


class NetworkTest(NetworkTestCase):

    def test_security_groups_are_enforced(self):
        # create groups before containers: clean-up runs in reverse order, and
        # a group in use cannot be deleted
        closed, icmp = self.group(), self.group('icmp')
        server = self.run_container(
            ['httpd', '-f', '-p', '80', '-h', '/www'])
        client = self.run_container()
        address = self.addresses(server)[0]['addr']

        # both are in the default group, which allows traffic from members
        self.wait_active(server)
        self.wait_active(client)
        base.wait_until('ping passes', lambda: self.ping(client, address))
        base.wait_until('the page is there',
                        lambda: self.fetch(client, address))

        self.set_groups(server, closed)
        base.wait_until('ping is denied',
                        lambda: not self.ping(client, address), 30)
        self.assertFalse(self.fetch(client, address))

        self.set_groups(server, icmp)
        base.wait_until('ping passes again',
                        lambda: self.ping(client, address), 30)
        self.assertFalse(self.fetch(client, address))

    def test_group_given_at_the_start(self):
        closed = self.group()
        server = self.run_container(security_groups=[closed.name])
        client = self.run_container()
        address = self.addresses(server)[0]
        port = base.cloud().network.get_port(address['port'])
        self.assertEqual([closed.id], port.security_group_ids)
        self.wait_active(server)
        self.wait_active(client)
        self.assertFalse(self.ping(client, address['addr']))

    def test_the_network_works_when_the_program_starts(self):
        """The program's first packet arrives."""
        server = self.run_container()
        address = self.addresses(server)[0]['addr']
        client = self.run_container(
            ['sh', '-c', f'ping -c 1 -W 2 {address} && sleep 3600'])
        for container in (server, client):
            port = base.cloud().network.get_port(
                self.addresses(container)[0]['port'])
            self.assertEqual('ACTIVE', port.status)
        log = base.wait_until('it has pinged', lambda: (
            text := base.zun().containers.logs(
                client.uuid, stdout=True, stderr=True)
            ).count('packet loss') and text)
        self.assertIn(' 0% packet loss', log)

    def test_names(self):
        container = self.run_container(hostname='web1')
        address = self.addresses(container)[0]['addr']
        self.assertEqual(address, self.output(container, 'hostname -i'))
        self.output(container, 'ping -c 1 web1')
        # the subnet has no DNS server, and the node's are not used
        self.assertEqual('options ndots:1',
                         self.output(container, 'cat /etc/resolv.conf'))

    def test_both_families(self):
        network = base.cloud().network
        found = network.create_network(name=self.name())
        self.addCleanup(network.delete_network, found.id)
        for version, cidr in ((4, '10.215.0.0/24'), (6, 'fd00:215::/64')):
            network.create_subnet(
                network_id=found.id, ip_version=version, cidr=cidr,
                gateway_ip=None, enable_dhcp=False, dns_nameservers=[
                    '192.0.2.53' if version == 4 else '2001:db8::53'])
        server, client = (self.run_container(nets=[{'network': found.id}])
                          for _ in range(2))
        addresses = [a['addr'] for a in self.addresses(server)]
        self.assertEqual(2, len(addresses))
        for address in addresses:
            base.wait_until(f'{address} answers',
                            lambda a=address: self.ping(client, a), 30)
        self.assertIn('nameserver 2001:db8::53',
                      self.output(client, 'cat /etc/resolv.conf'))

    def test_a_port_of_the_user_survives(self):
        network = base.cloud().network
        found = network.find_network('private')
        port = network.create_port(network_id=found.id, name=self.name())
        self.addCleanup(network.delete_port, port.id)
        container = self.run_container(nets=[{'port': port.id}])
        self.assertEqual(port.fixed_ips[0]['ip_address'],
                         self.addresses(container)[0]['addr'])
        self.remove(container.uuid)
        kept = network.get_port(port.id)
        self.assertEqual(('', ''), (kept.device_id, kept.device_owner))
