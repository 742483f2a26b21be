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

"""Rebuilds through Zun's own Manager, and its way to find the networks."""

from oslo_utils import uuidutils

from kata_openstack import exception
from tests.unit.contract import base

OTHER = {'entrypoint': ['/other'], 'command': ['work'],
         'exposed_ports': ['443/tcp']}


class RebuildTestCase(base.ContractTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.api.images['other:2'] = OTHER

    def asked(self, record):
        """The request that the node got last."""
        return self.api.requests[record.uuid]

    def failed_run(self, **values):
        """A container whose first start fails. The node removes its pod."""
        self.api.fail['start_pod'] = exception.CommandNotFound(
            command='nosuch', image='app:1')
        record = self.create(**values)
        del self.api.fail['start_pod']
        self.assertEqual(('Error', {}, {}), (record.status, record.addresses,
                                             self.neutron.ports))
        self.assertIn('nosuch', record.status_reason)
        return record


class TestCommand(RebuildTestCase):

    def test_the_images_command_is_the_new_images(self) -> None:
        record = self.create()
        self.assertEqual((['/entry'], ['serve'], [80]), (
            record.entrypoint, record.command, record.ports))
        for _ in range(2):
            record = self.rebuild(record, 'other:2')
            self.assertEqual('Running', record.status)
            (asked,) = self.asked(record).containers
            self.assertEqual((None, None), (asked.entrypoint, asked.command))
            self.assertEqual((['/other'], ['work'], [443]), (
                record.entrypoint, record.command, record.ports))

    def test_the_users_command_stays(self) -> None:
        for values, outcome in (
                ({'command': ['mine']}, (['/other'], ['mine'])),
                ({'entrypoint': ['/own']}, (['/own'], [])),
                ({'entrypoint': ['/own'], 'command': ['mine']},
                 (['/own'], ['mine']))):
            record = self.rebuild(self.create(**values), 'other:2')
            self.assertEqual('Running', record.status)
            (asked,) = self.asked(record).containers
            self.assertEqual(
                (values.get('entrypoint'), values.get('command')),
                (asked.entrypoint, asked.command))
            self.assertEqual(outcome, (record.entrypoint, record.command))


class TestRuntime(RebuildTestCase):

    def test_the_handler_is_chosen_anew(self) -> None:
        record = self.create()
        self.api.handler, self.api.vanished = 'kata-qemu', {'kata-embedded'}
        record = self.does('stop', record, None)
        for action, *arguments in (['start'], ['reboot', None]):
            record = self.does(action, record, *arguments)
            self.assertIn('bound to the runtime kata-embedded',
                          record.status_reason)
            self.assertIn('Rebuild it', record.status_reason)
        record = self.rebuild(record)
        self.assertEqual(('Created', 'kata-qemu'), (record.status,
                                                    record.runtime))
        self.assertEqual('kata', self.asked(record).runtime)

    def test_auto_heal_chooses_it_anew(self) -> None:
        record = self.create(auto_heal=True)
        self.api.handler, self.api.vanished = 'kata-qemu', {'kata-embedded'}
        self.api.pods.clear()
        self.minute()
        record = self.reload(record)
        self.assertEqual(('Running', 'kata-qemu'), (record.status,
                                                    record.runtime))

    def test_the_runtime_of_the_user_stays(self) -> None:
        record = self.rebuild(self.create(runtime='kata-embedded'))
        self.assertEqual('kata-embedded', self.asked(record).runtime)
        self.api.vanished = {'kata-embedded'}
        record = self.rebuild(record)
        self.assertEqual('Error', record.status)
        self.assertIn('kata-embedded', record.status_reason)


class TestNetworks(RebuildTestCase):

    def test_ports_are_kept(self) -> None:
        mine = self.user_port()
        record = self.create(networks=[
            *self.requested(),
            *self.requested(port=mine, preserve_on_delete=True),
            *self.requested()])
        ports, addresses = set(self.neutron.ports), record.addresses
        self.assertEqual(3, len(ports))
        for _ in range(2):
            record = self.rebuild(record)
            self.assertEqual(('Running', addresses), (record.status,
                                                      record.addresses))
            self.assertEqual(ports, set(self.neutron.ports))
            self.assertEqual({record.uuid}, {
                port['device_id'] for port in self.neutron.ports.values()})
            self.assertEqual(
                [a['port'] for a in addresses[self.neutron.NETWORK]],
                [vif.port_id for vif in self.asked(record).vifs])
        self.delete(record)
        (left,) = self.neutron.ports.values()
        self.assertEqual((mine, ''), (left['id'], left['device_id']))

    def test_after_a_first_start_that_failed(self) -> None:
        record = self.failed_run()
        self.assertEqual({record.uuid}, self.placement.allocations)
        record = self.rebuild(record, 'other:2')
        self.assertEqual('Created', record.status)
        (port,) = self.neutron.ports.values()
        self.assertEqual(record.uuid, port['device_id'])
        (addr,) = record.addresses[self.neutron.NETWORK]
        self.assertEqual(port['id'], addr['port'])
        self.assertFalse(addr['preserve_on_delete'])
        self.assertEqual('Running', self.does('start', record).status)
        self.assertIsNone(self.delete(record))
        self.assert_nothing_left()

    def test_a_users_port_after_a_first_start_that_failed(self) -> None:
        mine = self.user_port()
        self.api.fail['start_pod'] = exception.CommandNotFound(
            command='nosuch', image='app:1')
        record = self.create(networks=self.requested(
            port=mine, preserve_on_delete=True))
        self.api.fail.clear()
        self.assertEqual('', self.neutron.ports[mine]['device_id'])
        record = self.rebuild(record)
        self.assertEqual('Created', record.status)
        self.assertEqual([mine], list(self.neutron.ports))
        self.assertEqual(record.uuid, self.neutron.ports[mine]['device_id'])

    def test_a_users_port_that_others_use_by_now(self) -> None:
        mine, other = self.user_port(), uuidutils.generate_uuid()
        self.api.fail['start_pod'] = exception.CommandNotFound(
            command='nosuch', image='app:1')
        record = self.create(networks=self.requested(
            port=mine, preserve_on_delete=True))
        self.api.fail.clear()
        self.neutron.ports[mine]['device_id'] = other
        record = self.rebuild(record)
        self.assertEqual('Error', record.status)
        self.assertIn(f'{mine} is in use by {other}', record.status_reason)
        self.assertEqual(other, self.neutron.ports[mine]['device_id'])

    def test_a_network_that_is_no_longer_shared(self) -> None:
        record = self.failed_run()
        self.neutron.hidden.add(self.neutron.NETWORK)
        record = self.rebuild(record)
        self.assertEqual('Error', record.status)
        self.assertIn(self.neutron.NETWORK, record.status_reason)
        self.assert_nothing_left()

    def test_exposed_ports(self) -> None:
        record = self.create(exposed_ports={'80/tcp': {}})
        (group,) = self.neutron.groups
        record = self.rebuild(record)
        self.assertEqual(([group], [group]), (
            list(self.neutron.groups), record.security_groups))
        (port,) = self.neutron.ports.values()
        self.assertEqual([group], port['security_groups'])
        self.delete(record)
        self.assertEqual({}, self.neutron.groups)

    def test_exposed_ports_after_a_first_start_that_failed(self) -> None:
        record = self.failed_run(exposed_ports={'80/tcp': {}})
        self.assertEqual({}, self.neutron.groups)
        record = self.rebuild(record)
        (group,) = self.neutron.groups
        (port,) = self.neutron.ports.values()
        self.assertEqual(([group], [group]), (
            port['security_groups'], record.security_groups))


class TestFailures(RebuildTestCase):

    def test_pull(self) -> None:
        """The container can be rebuilt again, with its port."""
        record = self.create()
        (port,) = self.neutron.ports
        self.api.fail['pull_image'] = exception.ImageNotFound(image='x')
        record = self.rebuild(record, 'nosuch:1')
        self.assertEqual(('Error', base.HOST), (record.status, record.host))
        self.assertIn('Image x', record.status_reason)
        self.api.fail.clear()
        record = self.rebuild(record, 'other:2')
        self.assertEqual('Created', record.status)
        self.assertEqual([port], list(self.neutron.ports))
        self.assertEqual(['/other'], record.entrypoint)

    def test_create(self) -> None:
        """Zun unsets the host, so nothing but a delete is possible."""
        record = self.create()
        self.api.fail['create_pod'] = exception.NoHandler(why='none')
        record = self.rebuild(record)
        self.assertEqual(('Error', None), (record.status, record.host))
        self.assert_nothing_left()
        self.api.fail.clear()
        record = self.rebuild(record)
        self.assertEqual(('Error', None), (record.status, record.host))
        self.assertIn('Delete it and create it again', record.status_reason)
        self.assert_nothing_left()

    def test_first_pull(self) -> None:
        """Zun passes the networks only after the pull, so they are lost."""
        self.api.fail['pull_image'] = exception.ImageNotFound(image='x')
        record = self.create()
        self.assertEqual('Error', record.status)
        self.api.fail.clear()
        record = self.rebuild(record, 'other:2')
        self.assertEqual('Error', record.status)
        self.assertIn('has no networks', record.status_reason)
        self.assert_nothing_left()

    def test_no_answer(self) -> None:
        record = self.create()
        pods = dict(self.api.pods)
        self.api.fail['show_pod'] = exception.NodeUnavailable(
            host='h', why='no answer')
        record = self.rebuild(record)
        self.assertEqual('Error', record.status)
        self.assertIn('no answer', record.status_reason)
        self.assertEqual({'create': None, 'rebuild': 'Error'},
                         self.actions(record))
        self.api.fail.clear()
        self.api.pods = pods
        self.minute()
        self.assertEqual('Running', self.reload(record).status)
