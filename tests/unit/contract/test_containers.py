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

"""Containers through Zun's own Manager."""

from typing import Any

from zun.common import exception as zun_exc
from zun.common import utils as zun_utils
from zun import objects as zun_objects

from kata_openstack import exception
from tests.unit.contract import base

NO_ANSWER = exception.NodeUnavailable(host='h', why='no answer')


class TestLife(base.ContractTestCase):

    def test_create(self) -> None:
        record = self.create(run=False)
        self.assertEqual(
            ('Created', None, None, base.HOST, 'kata-embedded'),
            (record.status, record.status_reason, record.task_state,
             record.host, record.runtime))
        (addr,) = record.addresses[self.neutron.NETWORK]
        self.assertIn(addr['port'], self.neutron.ports)
        self.assertEqual({record.uuid}, self.placement.allocations)
        self.assertEqual({'create': None}, self.actions(record))

    def test_run_stop_start_delete(self) -> None:
        record = self.create()
        for action, arguments, status in (
                (None, (), 'Running'), ('stop', ('5',), 'Stopped'),
                ('start', (), 'Running'), ('reboot', (None,), 'Running'),
                ('pause', (), 'Paused'), ('unpause', (), 'Running'),
                ('kill', ('SIGKILL',), 'Stopped'), ('show', (), 'Stopped')):
            if action:
                record = self.does(action, record, *arguments)
            self.assertEqual((status, None, None), (
                record.status, record.status_reason, record.task_state))
        self.assertIsNotNone(record.started_at)
        self.assertEqual(dict.fromkeys((
            'create', 'stop', 'start', 'reboot', 'pause', 'unpause',
            'kill')), self.actions(record))
        self.assertEqual({record.uuid}, self.placement.allocations)
        self.assertIsNone(self.delete(record))
        self.assert_nothing_left()

    def test_resources_of_the_node(self) -> None:
        record = self.create(memory='512', cpu=1.0)
        node = zun_objects.ComputeNode.get_by_name(self.admin, base.HOST)
        self.assertEqual((512, 1.0, ['kata', 'kata-embedded']), (
            node.mem_used, node.cpu_used, node.runtimes))
        self.assertIn('CUSTOM_KATA_EMBEDDED', self.placement.provider.traits)
        self.delete(record)
        node = zun_objects.ComputeNode.get_by_name(self.admin, base.HOST)
        self.assertEqual((0, 0.0), (node.mem_used, node.cpu_used))

    def test_failed_creates_leave_nothing(self) -> None:
        for method, error in (
                ('create_pod', exception.NotEnoughMemory(asked_mib=9,
                                                         limit_mib=8)),
                ('create_pod', NO_ANSWER),
                ('create_pod', exception.UnknownRuntime(
                    runtime='runc', why='', use='kata'))):
            self.api.fail = {method: error}
            record = self.create()
            self.assertEqual(('Error', str(error), None, None), (
                record.status, record.status_reason, record.host,
                record.task_state))
            self.assertEqual({'create': 'Error'}, self.actions(record))
            self.assert_nothing_left()

    def test_a_failed_pull_can_be_deleted(self) -> None:
        self.api.fail['pull_image'] = exception.ImageNotFound(image='x')
        record = self.create()
        self.assertEqual(('Error', base.HOST), (record.status, record.host))
        self.assertIn('Image x', record.status_reason)
        self.assertIsNone(self.delete(record))
        self.assert_nothing_left()

    def test_failed_operations_say_why(self) -> None:
        for action, method in (('stop', 'stop_pod'), ('kill',
                                                      'kill_container'),
                               ('reboot', 'restart_pod'),
                               ('pause', 'pause_container')):
            record = self.create()
            self.api.fail[method] = NO_ANSWER
            record = self.does(action, record,
                               *[None] * (action != 'pause'))
            self.assertEqual((str(NO_ANSWER), None), (record.status_reason,
                                                      record.task_state))
            self.assertEqual('Error', self.actions(record).get(action))
            self.api.fail.clear()
            self.minute()
            self.assertEqual('Running', self.reload(record).status)

    def test_a_delete_without_an_answer(self) -> None:
        """By force: the orphans' clean-up finishes it."""
        record = self.create()
        self.api.fail['delete_pod'] = NO_ANSWER
        self.zun.container_delete(self.context, record, False)
        self.assertEqual('Error', self.reload(record).status)
        self.assertEqual({record.uuid}, self.placement.allocations)
        self.assertIsNone(self.delete(self.reload(record)))
        self.assertEqual(({}, set()), (self.neutron.ports,
                                       self.placement.allocations))
        self.assertIn(record.uuid, self.api.pods)


class TestArchives(base.ContractTestCase):

    def get(self, record: Any, path: str) -> Any:
        return self.zun.container_get_archive(self.context, record, path,
                                              True)

    def put(self, record: Any, path: str, data: bytes) -> None:
        self.zun.container_put_archive(
            self.context, record, path,
            zun_utils.encode_file_data(data), True)

    def test_both_ways(self) -> None:
        data = bytes(range(256)) * 20_000
        record = self.create(run=False)
        for action in (None, 'start', 'pause'):
            if action:
                record = self.does(action, record)
            for name in ('get_archive', 'put_archive'):
                zun_utils.validate_container_state(record, name)
            self.put(record, '/data', data)
            found, stat = self.get(record, '/data')
            self.assertEqual(data, zun_utils.decode_file_data(found))
            self.assertEqual(
                {'name': 'data', 'size': 5, 'mode': 0o644,
                 'mtime': '2026-01-02T03:04:05Z', 'linkTarget': ''}, stat)
        self.assertEqual({}, self.api.archives)

    def test_errors_reach_the_user(self) -> None:
        record = self.create()
        missing = exception.InvalidInput(
            field='path', value='/100%', why='it does not exist in the '
            'container', remedy='Name an existing file.')
        self.api.fail = {'pack_archive': missing, 'unpack_archive': missing}
        for work in (lambda: self.get(record, '/100%'),
                     lambda: self.put(record, '/100%', b'x')):
            error = self.assertRaises(zun_exc.Invalid, work)
            self.assertEqual((400, str(missing)), (error.code, str(error)))
        self.assertEqual('Running', self.reload(record).status)


class TestResize(base.ContractTestCase):

    def test_update(self) -> None:
        record = self.create()
        record.status_reason = 'of an older failure'
        found = self.zun.container_update(
            self.context, record, {'memory': '128', 'cpu': 0.5})
        self.assertEqual(('128', 0.5), (found.memory, found.cpu))
        record = self.reload(record)
        self.assertEqual(('128', 0.5, None), (
            record.memory, record.cpu, record.status_reason))
        self.assertEqual(
            [('check_resize', base.HOST, record.uuid, 0.5, 128),
             ('resize_container', base.HOST, record.uuid, 0.5, 128)],
            [c for c in self.api.calls if 'resize' in c[0]])
        self.zun.container_update(self.context, record, {'memory': '256'})
        self.assertEqual(('resize_container', base.HOST, record.uuid, None,
                          256), self.api.calls[-1])
        node = zun_objects.ComputeNode.get_by_name(self.admin, base.HOST)
        self.assertEqual((256, 0.5), (node.mem_used, node.cpu_used))
        self.assertEqual({record.uuid: 256}, self.placement.memory)

    def test_an_update_for_which_the_node_has_no_room(self) -> None:
        record = self.create()
        self.placement.most = 1000
        raised = self.assertRaises(
            zun_exc.Conflict, self.zun.container_update, self.context, record,
            {'memory': '1001'})
        self.assertIn('has not 1001 MiB', str(raised))
        self.assertEqual('512', self.reload(record).memory)
        self.assertEqual([], [c for c in self.api.calls
                              if c[0] == 'resize_container'])

    def test_an_update_that_the_node_refuses(self) -> None:
        refusal = exception.Conflict(kind='Container', id='c', state='small',
                                     remedy='Stop it.')
        for ask in (
                lambda record: self.assertRaises(
                    zun_exc.Conflict, self.zun.container_update,
                    self.context, record, {'memory': '9999'}),
                # zun-api has answered 202 before
                lambda record: self.zun.resize_container(
                    self.context, record, {'memory': '9999'})):
            record = self.create()
            self.api.fail = {'check_resize': refusal}
            raised = ask(record)
            if raised:
                self.assertIn('Stop it', str(raised))
            record = self.reload(record)
            self.assertEqual(('Running', '512', str(refusal)), (
                record.status, record.memory, record.status_reason))
            self.assertEqual([], [c for c in self.api.calls
                                  if c[0] == 'resize_container'])
            self.api.fail.clear()

    def test_an_update_that_fails(self) -> None:
        record = self.create()
        self.api.fail['resize_container'] = NO_ANSWER
        self.zun.container_update(self.context, record, {'memory': '128'})
        record = self.reload(record)
        self.assertEqual(('512', str(NO_ANSWER)), (record.memory,
                                                   record.status_reason))
        self.assertEqual({record.uuid: 512}, self.placement.memory)


class TestSync(base.ContractTestCase):

    def test_states(self) -> None:
        ended, lost, healed, removed, running = records = [
            self.create(**values) for values in (
                {}, {}, {'auto_heal': True}, {'auto_remove': True}, {})]
        for record in (ended, removed):
            self.api.set_state(record.uuid, 'exited', exit_code=0)
        for record in (lost, healed):
            del self.api.pods[record.uuid]
        self.minute()
        self.assertEqual(
            ['Stopped', 'Error', 'Running', 'Deleted', 'Running'],
            [self.reload(record).status for record in records])
        self.minute()
        self.assertIsNone(self.find(removed))
        self.assertEqual(
            {record.uuid for record in records} - {removed.uuid},
            self.placement.allocations)
        self.assertEqual({ended.uuid, healed.uuid, running.uuid},
                         set(self.api.pods))
        self.assertEqual([], self.background)

    def test_records_that_vanish(self) -> None:
        """They are deleted while the node is asked for its pods."""
        records = [self.create(auto_heal=True) for _ in range(4)]
        for record in records:
            self.api.set_state(record.uuid, 'exited', exit_code=0)
        first, second, *others = records
        del self.api.pods[second.uuid]
        ask = self.api.list_pods

        def list_pods(*args):
            found = ask(*args)
            for record in (first, second):
                if self.find(record):
                    self.reload(record).destroy(self.context)
            return found

        self._replace(self.api, 'list_pods', list_pods)
        self.minute()
        self.assertEqual(['Stopped'] * 2, [self.reload(record).status
                                           for record in others])

    def test_no_answer_changes_nothing(self) -> None:
        record = self.create()
        self.api.pods.clear()
        self.api.fail['list_pods'] = NO_ANSWER
        self.minute()
        self.assertEqual('Running', self.reload(record).status)
