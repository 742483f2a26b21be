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

from unittest import mock

import fixtures
from oslo_utils import fixture
from zun import objects as zun_objects

from kata_openstack import exception
from kata_openstack.zun_driver import container as module
from kata_openstack.zun_driver.records import background
from tests.unit.zun_driver import base


class TestSync(base.DriverTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.driver = module.KataContainerDriver()
        self.manager = mock.Mock()

    def run_container(self, **values):
        record = self.container(**values)
        self.driver.create(self.context, record, {
            'repo': 'app', 'tag': '1', 'kata': {}}, self.requested(), {})
        self.driver.start(self.context, record)
        record.save(self.context)
        return record

    def sync(self, *records):
        self.driver.update_containers_states(
            self.context, zun_objects.Container.list(self.context),
            self.manager)
        return [self.reload(r).status for r in records]

    def test_states(self) -> None:
        one, two = self.run_container(), self.run_container()
        self.api.set_state(one.uuid, 'exited', exit_code=0)
        self.assertEqual(['Stopped', 'Running'], self.sync(one, two))

    def test_no_answer_changes_nothing(self) -> None:
        record = self.run_container()
        self.api.pods.clear()
        self.api.fail['list_pods'] = exception.NodeUnavailable(host='h',
                                                               why='x')
        self.assertEqual(['Running'], self.sync(record))

    def test_a_pod_that_cannot_be_read_costs_no_other(self) -> None:
        broken = self.run_container(auto_heal=True)
        other = self.run_container()
        self.api.set_state(other.uuid, 'exited', exit_code=0)
        for change in ({'ready': None}, {'later': 1}, {'containers': 'x'}):
            self.useFixture(fixtures.MockPatchObject(
                self.api.pods[broken.uuid], 'to_dict',
                lambda change=change: {'uuid': broken.uuid, **change}))
            self.assertEqual(['Running', 'Stopped'],
                             self.sync(broken, other))
            _, lost = self.driver.list(self.context)
            self.assertEqual([], lost)
        self.manager.container_rebuild.assert_not_called()

    def test_missing(self) -> None:
        record = self.run_container()
        gone = self.run_container(auto_remove=True)
        self.api.pods.clear()
        self.assertEqual(['Error', 'Deleted'], self.sync(record, gone))
        self.assertIn('not on this node', self.reload(record).status_reason)

    def test_auto_remove(self) -> None:
        record = self.run_container(auto_remove=True)
        self.api.set_state(record.uuid, 'exited', exit_code=0)
        self.api.fail['delete_pod'] = exception.NodeUnavailable(
            host='h', why='x')
        self.assertEqual(['Stopped'], self.sync(record))
        del self.api.fail['delete_pod']
        self.assertEqual(['Deleted'], self.sync(record))
        self.assertEqual({}, self.api.pods)

    def test_auto_remove_of_one_that_was_started_meanwhile(self) -> None:
        tasks = []
        self._replace(background, 'start', lambda uuid, task: (
            tasks.append(task)))
        record = self.run_container(auto_remove=True)
        self.api.set_state(record.uuid, 'exited', exit_code=0)
        self.assertEqual(['Stopped'], self.sync(record))
        record = self.driver.start(self.context, self.reload(record))
        record.save(self.context)
        (task,) = tasks
        task()
        self.assertIn(record.uuid, self.api.pods)
        self.assertEqual('Running', self.reload(record).status)

    def test_auto_remove_of_one_that_was_deleted_meanwhile(self) -> None:
        tasks = []
        self._replace(background, 'start', lambda uuid, task: (
            tasks.append(task)))
        record = self.run_container(auto_remove=True)
        self.api.set_state(record.uuid, 'exited', exit_code=0)
        self.sync(record)
        self.reload(record).destroy(self.context)
        (task,) = tasks
        task()

    def test_a_record_that_vanishes_costs_no_other(self) -> None:
        for lost in (False, True):
            gone, other = self.run_container(), self.run_container()
            self.api.set_state(other.uuid, 'exited', exit_code=0)
            self.api.set_state(gone.uuid, 'exited', exit_code=0)
            if lost:
                del self.api.pods[gone.uuid]
            listed = sorted(zun_objects.Container.list(self.context),
                            key=lambda record: record.uuid != gone.uuid)
            self.reload(gone).destroy(self.context)
            self.driver.update_containers_states(self.context, listed,
                                                 self.manager)
            self.assertEqual('Stopped', self.reload(other).status)

    def test_a_rebuild_that_began_meanwhile_is_left_alone(self) -> None:
        record = self.run_container(auto_heal=True)
        self.api.pods.clear()
        listed = zun_objects.Container.list(self.context)
        current = self.reload(record)
        current.task_state = 'container_rebuilding'
        current.save(self.context)
        self.driver.update_containers_states(self.context, listed,
                                             self.manager)
        self.assertEqual([], self.manager.container_rebuild.mock_calls)
        self.assertEqual('Running', self.reload(record).status)

    def test_auto_heal(self) -> None:
        record = self.run_container(auto_heal=True)
        self.api.pods.clear()
        self.assertEqual(['Rebuilding'], self.sync(record))
        self.assertEqual(['Rebuilding'], self.sync(record))
        (call,) = self.manager.container_rebuild.call_args_list
        self.assertEqual(record.uuid, call.args[1].uuid)
        self.assertTrue(call.kwargs['run'])

    def test_auto_heal_in_the_project_of_each_container(self) -> None:
        """The rebuilds begin after the sync."""
        self.context.is_admin = self.context.all_projects = True
        records = [self.run_container(auto_heal=True, project_id=project)
                   for project in ('p1', 'p2')]
        self.api.pods.clear()
        self.sync(*records)
        self.assertEqual({record.uuid: record.project_id
                          for record in records}, {
            call.args[1].uuid: call.args[0].project_id
            for call in self.manager.container_rebuild.call_args_list})

    def test_auto_heal_does_not_disturb_a_task(self) -> None:
        record = self.run_container(auto_heal=True)
        record.task_state = 'container_rebuilding'
        record.save(self.context)
        self.api.pods.clear()
        self.assertEqual(['Running'], self.sync(record))
        self.manager.container_rebuild.assert_not_called()

    def test_what_did_not_run_is_not_run_by_auto_heal(self) -> None:
        record = self.run_container(auto_heal=True)
        self.driver.stop(self.context, record, None)
        record.save(self.context)
        self.api.pods.clear()
        self.assertEqual(['Rebuilding'], self.sync(record))
        (call,) = self.manager.container_rebuild.call_args_list
        self.assertFalse(call.kwargs['run'])

    def test_rebuilding_is_no_error_for_show(self) -> None:
        record = self.run_container()
        record.status = 'Rebuilding'
        self.api.pods.clear()
        self.driver.show(self.context, record)
        self.assertEqual('Rebuilding', record.status)

    def test_restarting_ends_when_the_node_answers(self) -> None:
        """A reboot without an answer leaves the status Restarting."""
        time = self.useFixture(fixture.TimeFixture())
        record = self.run_container()
        record.status = 'Restarting'
        record.save(self.context)
        self.assertEqual(['Restarting'], self.sync(record))
        time.advance_time_seconds(61)
        self.assertEqual(['Running'], self.sync(record))

    def test_a_request_on_its_way_is_left_alone(self) -> None:
        """zun-api has set the status, and the task has not begun."""
        for name in ('Rebuilding', 'Restarting', 'Deleting'):
            record = self.run_container()
            record.status = name
            record.save(self.context)
            record = self.reload(record)
            self.driver.show(self.context, record)
            self.assertEqual(name, record.status)
            self.assertEqual([name], self.sync(record))
            local, lost = self.driver.list(self.context)
            self.assertIn(name, [found.status for found in local])
            self.assertEqual([], lost)

    def test_transitions_and_other_hosts_are_left_alone(self) -> None:
        creating = self.container(status='Creating')
        deleting = self.run_container()
        deleting.task_state = 'container_deleting'
        deleting.save(self.context)
        elsewhere = self.run_container()
        elsewhere.host = 'node-2'
        elsewhere.save(self.context)
        self.api.pods.clear()
        self.assertEqual(['Creating', 'Running', 'Running'],
                         self.sync(creating, deleting, elsewhere))

    def test_allocations_of_failed_creates_are_freed(self) -> None:
        failed = self.container(status='Error', host=None)
        kept = [self.container(status='Error'), self.run_container(),
                self.container(host=None)]  # being scheduled
        self.sync()
        self.assertEqual({r.uuid for r in kept}, self.allocated)
        self.allocated.add(failed.uuid)  # must not be freed again
        self.sync()
        self.assertIn(failed.uuid, self.allocated)

    def test_node_is_asked_once(self) -> None:
        self.run_container()
        self.api.calls.clear()
        self.sync()
        self.assertEqual([('list_pods', base.HOST)], self.api.calls)

    def test_list_holds_every_container_of_this_host(self) -> None:
        """Without this, zun-compute's start fails with a KeyError."""
        records = [self.container(), self.run_container(),
                   self.run_container()]
        self.container(host='node-2')
        del self.api.pods[records[2].uuid]
        local, lost = self.driver.list(self.context)
        self.assertEqual({r.uuid for r in records}, {r.uuid for r in local})
        self.assertEqual([records[2].uuid], [r.uuid for r in lost])

    def test_list_without_an_answer(self) -> None:
        record = self.run_container()
        for error in (exception.NodeUnavailable(host='h', why='x'),
                      ValueError('surprise')):
            self.api.fail['list_pods'] = error
            local, lost = self.driver.list(self.context)
            self.assertEqual(['Running'], [r.status for r in local])
            self.assertEqual([], lost)
            self.assertEqual(record.uuid, local[0].uuid)
