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

import itertools
import time
from typing import Any
from unittest import mock

import fixtures
from neutronclient.common import exceptions as neutron_exc

from kata_openstack import exception
from kata_openstack.zun_driver.network import ports as module
from kata_openstack.zun_driver.network import vif
from tests.unit.zun_driver import base

NETWORK_2 = '6c6bcd3e-0000-4000-8000-000000000002'


class TestNetwork(base.DriverTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.network = module.Network(self.context)

    def assertNothingLeft(self, record) -> None:
        self.assertEqual([], [p for p in self.neutron.ports.values()
                              if p['device_id'] == record.uuid])

    def test_two_networks(self) -> None:
        self.neutron.subnets[NETWORK_2] = [self.neutron.subnet(
            cidr='10.1.0.0/16', gateway_ip='10.1.0.1',
            dns_nameservers=['10.0.0.2', '10.1.0.3'],
            host_routes=[{'destination': '10.9.0.0/16',
                          'nexthop': '10.1.0.9'}])]
        found = self.network.attach(
            self.container(),
            self.requested() + self.requested(network=NETWORK_2))
        self.assertEqual({self.neutron.NETWORK, NETWORK_2},
                         set(found.addresses))
        self.assertEqual(['10.0.0.2', '10.1.0.3'], found.nameservers)
        first, second = (vif.fixed_ips[0] for vif in found.vifs)
        self.assertEqual((24, '10.0.0.1'), (first.prefixlen, first.gateway))
        # one default route only; the second network keeps its own routes
        self.assertEqual((16, None), (second.prefixlen, second.gateway))
        self.assertEqual('10.9.0.0/16', second.routes[0].destination)

    def test_dns_servers(self) -> None:
        subnets = self.neutron.subnets[self.neutron.NETWORK]
        for listed, dhcp, expected in (
                (['192.0.2.1', '127.0.0.53', '::1'], True, ['192.0.2.1']),
                (['0.0.0.0'], True, []),
                (['127.0.0.1'], True, []),
                ([], True, ['10.0.0.3']),
                ([], False, [])):
            subnets[:] = [self.neutron.subnet(dns_nameservers=listed)]
            module._networks.clear()
            self.neutron.dhcp = [
                {'device_id': 'ovnmeta-1', 'fixed_ips': [
                    {'subnet_id': subnets[0]['id'],
                     'ip_address': '10.0.0.2'}]},
                {'device_id': 'reserved_dhcp_port', 'fixed_ips': [
                    {'subnet_id': subnets[0]['id'],
                     'ip_address': '10.0.0.4'}]},
                {'device_id': 'dhcp-1', 'fixed_ips': [
                    {'subnet_id': 'another', 'ip_address': '10.1.0.3'},
                    {'subnet_id': subnets[0]['id'],
                     'ip_address': '10.0.0.3'}]}] if dhcp else []
            found = self.network.attach(self.container(), self.requested())
            self.assertEqual(expected, found.nameservers)

    def test_no_dns_server_is_logged(self) -> None:
        logs = self.useFixture(fixtures.FakeLogger())
        self.network.attach(self.container(), self.requested())
        self.assertNotIn('no DNS server', logs.output)
        self.neutron.subnets[self.neutron.NETWORK] = [
            self.neutron.subnet(dns_nameservers=[])]
        module._networks.clear()
        self.network.attach(self.container(), self.requested())
        self.assertIn('openstack subnet set --dns-nameserver', logs.output)

    def test_search_domain(self) -> None:
        found = self.network.attach(self.container(), self.requested())
        self.assertEqual([], found.search_domains)
        module._networks.clear()
        self.neutron.dns_domain = 'example.org.'
        found = self.network.attach(self.container(),
                                    self.requested() + self.requested())
        self.assertEqual(['example.org'], found.search_domains)

    def test_both_families(self) -> None:
        self.neutron.subnets[self.neutron.NETWORK].append(
            self.neutron.subnet(cidr='fd00::0/64', gateway_ip='fd00::1'))
        found = self.network.attach(self.container(), self.requested())
        (addresses,) = found.addresses.values()
        self.assertEqual([4, 6], [a['version'] for a in addresses])
        self.assertEqual(['10.0.0.1', 'fd00::1'],
                         [ip.gateway for ip in found.vifs[0].fixed_ips])

    def test_a_network_is_described_once(self) -> None:
        self.network.attach(self.container(), self.requested())
        self.neutron.fail = dict.fromkeys(
            ('show_network', 'list_subnets'), AssertionError('again'))
        found = self.network.attach(self.container(), self.requested())
        self.assertEqual(1442, found.vifs[0].mtu)

    def test_a_subnet_that_is_new(self) -> None:
        subnets = self.neutron.subnets[self.neutron.NETWORK]
        self.network.attach(self.container(), self.requested())
        subnets[:] = [self.neutron.subnet(cidr='10.3.0.0/20')]
        found = self.network.attach(self.container(), self.requested())
        self.assertEqual(20, found.vifs[0].fixed_ips[0].prefixlen)

    def test_fixed_ip_and_security_groups(self) -> None:
        group = '6c6bcd3e-0000-4000-8000-0000000000aa'
        self.network.attach(self.container(security_groups=[group]),
                            self.requested(fixed_ip='10.0.0.99'))
        (port,) = self.neutron.ports.values()
        self.assertEqual([group], port['security_groups'])

    def slow_agent(self, looks: int) -> list[float]:
        """Let ports become active at the last of so many looks at them.

        :returns: a list that gets the pauses between the looks.
        """
        pauses: list[float] = []
        self._replace(time, 'sleep', pauses.append)
        self._replace(time, 'monotonic', lambda: sum(pauses))
        self.neutron.activate = lambda: len(pauses) >= looks - 1
        return pauses

    def test_wait_until_the_ports_are_active(self) -> None:
        record = self.container()
        self.network.attach(record, self.requested() + self.requested())
        for looks in (1, 4):
            for port in self.neutron.ports.values():
                port['status'] = 'DOWN'
            pauses = self.slow_agent(looks)
            self.network.wait_active(record)
            self.assertEqual(looks - 1, len(pauses))
            self.assertEqual(
                {'ACTIVE'}, {p['status'] for p in self.neutron.ports.values()})

    def test_ports_that_do_not_become_active(self) -> None:
        record = self.container()
        self.network.attach(record, self.requested())
        self.config('kata_driver', port_timeout=30)
        pauses = self.slow_agent(1000)
        raised = self.assertRaises(exception.NetworkFailed,
                                   self.network.wait_active, record)
        (port,) = self.neutron.ports
        for words in (port, 'is not ACTIVE in Neutron, after 30 s',
                      f'agent list --host {base.HOST}', 'port_timeout'):
            self.assertIn(words, str(raised))
        self.assertTrue(30 < sum(pauses) < 32)
        self.config('kata_driver', port_timeout=0)
        self.network.wait_active(record)

    def test_a_port_that_its_user_has_set_down(self) -> None:
        record = self.container()
        port_id = self.user_port()
        self.neutron.ports[port_id]['admin_state_up'] = False
        self.network.attach(record, self.requested(
            port=port_id, preserve_on_delete=True))
        self.network.wait_active(record)

    def test_neutron_does_not_tell_the_state(self) -> None:
        record = self.container()
        self.network.attach(record, self.requested())
        pauses = self.slow_agent(1)
        self.neutron.fail['list_ports'] = neutron_exc.ServiceUnavailable()
        raised = self.assertRaises(exception.NetworkFailed,
                                   self.network.wait_active, record)
        self.assertIn('Neutron does not answer', str(raised))
        self.assertGreater(len(pauses), 1)  # it may be temporary

    def test_port_of_the_user(self) -> None:
        port_id = self.user_port()
        record = self.container()
        found = self.network.attach(record, self.requested(
            port=port_id, preserve_on_delete=True))
        port = self.neutron.ports[port_id]
        self.assertEqual(('mine', record.uuid, base.HOST), (
            port['name'], port['device_id'], port['binding:host_id']))
        (address,) = found.addresses[self.neutron.NETWORK]
        self.assertTrue(address['preserve_on_delete'])
        record.addresses = found.addresses
        self.network.release(record)
        port = self.neutron.ports[port_id]
        self.assertEqual(('', '', ''), (
            port['device_id'], port['device_owner'],
            port['binding:host_id']))

    def test_network_without_subnet(self) -> None:
        self.neutron.subnets[self.neutron.NETWORK] = []
        record = self.container()
        raised = self.assertRaises(exception.NetworkFailed,
                                   self.network.attach, record,
                                   self.requested())
        self.assertIn('has no subnet', str(raised))
        self.assertIn('openstack subnet create', str(raised))
        self.assertNothingLeft(record)

    def test_failed_binding(self) -> None:
        self.neutron.vif_type = 'binding_failed'
        record = self.container()
        raised = self.assertRaises(exception.NetworkFailed,
                                   self.network.attach, record,
                                   self.requested())
        self.assertIn('could not bind port', str(raised))
        self.assertIn(f'agent list --host {base.HOST}', str(raised))
        self.assertNothingLeft(record)

    def test_failure_of_any_request(self) -> None:
        record = self.container()
        for method in ('create_port', 'show_network', 'list_subnets'):
            module._networks.clear()
            self.neutron.fail = {method: neutron_exc.OverQuotaClient()}
            raised = self.assertRaises(exception.NetworkFailed,
                                       self.network.attach, record,
                                       self.requested())
            self.assertIn('raise the quota', str(raised))
            self.assertNothingLeft(record)

    def test_failure_of_the_second_port(self) -> None:
        record = self.container()
        port_id = self.user_port()
        gone = '6c6bcd3e-0000-4000-8000-0000000000ff'
        self.assertRaises(
            exception.NetworkFailed, self.network.attach, record,
            self.requested(port=port_id, preserve_on_delete=True)
            + self.requested()
            + self.requested(port=gone, preserve_on_delete=True))
        self.assertNothingLeft(record)
        self.assertEqual([port_id], list(self.neutron.ports))

    def test_sriov_is_refused(self) -> None:
        record = self.container()
        self.assertRaises(exception.Unsupported, self.network.attach, record,
                          self.requested(pci_request_id='x'))
        self.assertNothingLeft(record)

    def test_release_finds_what_was_never_recorded(self) -> None:
        record = self.container()
        port_id = self.user_port()
        self.network.attach(record, self.requested() + self.requested(
            port=port_id, preserve_on_delete=True))
        self.assertFalse(record.addresses)  # lost, as after a crash
        self.network.release(record)
        self.assertNothingLeft(record)
        self.assertEqual([port_id], list(self.neutron.ports))

    def test_release_finds_ours_without_a_device(self) -> None:
        """A failed rebuild leaves such ports behind."""
        record = self.container()
        for values in ({'name': vif.port_name(record.uuid)},
                       {'name': vif.port_name(record.uuid),
                        'tenant_id': 'p2'},
                       {'name': vif.port_name(record.uuid),
                        'device_id': 'a server'},
                       {'name': 'mine'}):
            self.neutron.create_port({'port': {
                'network_id': self.neutron.NETWORK, 'device_id': '',
                'tenant_id': record.project_id, **values}})
        first, *others = self.neutron.ports
        self.network.release(record)
        self.assertEqual(others, list(self.neutron.ports))

    def test_failure_with_ports_of_a_rebuild(self) -> None:
        """Our own ports are deleted although Zun asks to preserve them.

        For a rebuild, Zun's request names our ports too, and Zun sets
        preserve_on_delete for all ports in the record.
        """
        record = self.container()
        port_id = self.user_port()
        record.addresses = self.network.attach(
            record, self.requested() + self.requested(
                port=port_id, preserve_on_delete=True)).addresses
        networks = []
        for addr in record.addresses[self.neutron.NETWORK]:
            networks += self.requested(
                port=addr['port'],
                preserve_on_delete=addr['preserve_on_delete'])
            addr['preserve_on_delete'] = True
        self.network.release(record)
        self.assertEqual(2, len(self.neutron.ports))
        self.neutron.vif_type = 'binding_failed'
        self.assertRaises(exception.NetworkFailed, self.network.attach,
                          record, networks)
        self.assertNothingLeft(record)
        self.assertEqual([port_id], list(self.neutron.ports))

    def test_release_goes_on_after_a_failure(self) -> None:
        record = self.container()
        port_id = self.user_port()
        self.network.attach(record, self.requested() + self.requested(
            port=port_id, preserve_on_delete=True))
        self.neutron.fail['delete_port'] = neutron_exc.InternalServerError()
        self.assertRaises(exception.NetworkFailed, self.network.release,
                          record)
        self.assertEqual('', self.neutron.ports[port_id]['device_id'])

    def test_exposed_ports(self) -> None:
        record = self.container(exposed_ports={'80/tcp': {}})
        self.network.attach(record, self.requested())
        (group,) = self.neutron.groups.values()
        (port,) = self.neutron.ports.values()
        self.assertEqual([group['id']], port['security_groups'])
        self.assertEqual(
            [('80', '0.0.0.0/0'), ('80', '::/0')],
            [(rule['port_range_min'], rule['remote_ip_prefix'])
             for rule in group['rules']])
        self.assertEqual([group['id']], record.security_groups)
        self.network.release(record)
        self.assertEqual({}, self.neutron.groups)

    def test_no_networks(self) -> None:
        record = self.container()
        raised = self.assertRaises(exception.NetworkFailed,
                                   self.network.attach, record, [])
        self.assertIn('no networks', str(raised))

    def test_change_security_groups(self) -> None:
        record = self.container()
        self.network.attach(record, self.requested())
        self.network.groups.add(record, 'extra')
        (port,) = self.neutron.ports.values()
        self.assertEqual(['dflt', 'extra'], port['security_groups'])
        self.network.groups.remove(record, 'dflt')
        self.network.groups.remove(record, 'dflt')
        (port,) = self.neutron.ports.values()
        self.assertEqual(['extra'], port['security_groups'])

    def test_groups_change_on_all_ports_or_on_none(self) -> None:
        record = self.container()
        self.network.attach(record, self.requested() + self.requested())
        update = self.neutron.update_port

        def groups() -> list[list[str]]:
            return [p['security_groups']
                    for p in self.neutron.ports.values()]

        def fail(*failing: int) -> None:
            calls = itertools.count(1)

            def update_port(port: str, body: Any) -> Any:
                update(port, body)  # made, but the answer may be lost
                if next(calls) in failing:
                    raise neutron_exc.InternalServerError()
            self.neutron.update_port = update_port
        for change, group in ((self.network.groups.add, 'extra'),
                              (self.network.groups.remove, 'dflt')):
            fail(2)
            self.assertRaises(exception.NetworkFailed, change, record, group)
            self.assertEqual([['dflt']] * 2, groups())
        fail(2, 3)  # a failure to undo one costs no other
        with self.assertLogs('kata_openstack', 'ERROR'):
            self.assertRaises(exception.NetworkFailed,
                              self.network.groups.add, record, 'extra')
        self.assertEqual([['dflt']] * 2, groups())

    def test_a_port_that_is_deleted_meanwhile(self) -> None:
        record = self.container()
        self.network.attach(record, self.requested())
        self.neutron.update_port = mock.Mock(
            side_effect=neutron_exc.PortNotFoundClient())
        with self.assertNoLogs('kata_openstack', 'ERROR'):
            self.assertRaises(exception.NetworkFailed,
                              self.network.groups.add, record, 'extra')
