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

"""The start of zun-compute, also before the rest of the node is ready."""

from kata_openstack import exception
from tests.unit.contract import base


class StartTestCase(base.ContractTestCase):

    def boot(self, late=False):
        """Start the node again. All its containers have stopped.

        :param late: kata-compute answers only after zun-compute has started
        """
        for uuid in self.api.pods:
            self.api.set_state(uuid, 'exited', exit_code=255)
        if late:
            self.api.fail['list_pods'] = exception.ContainerdUnavailable(
                address='a', why='it starts')
        self.start_zun_compute()


class TestResume(StartTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.config('compute', resume_container_state=True)

    def test_resumed(self) -> None:
        running, stopped = self.create(), self.create()
        self.does('stop', stopped, None)
        for late in (False, True):
            self.boot(late)
            self.api.fail.clear()
            self.minute()
            self.assertEqual(
                ['Running', 'Stopped'],
                [self.reload(r).status for r in (running, stopped)])

    def test_only_once(self) -> None:
        record = self.create()
        self.boot(late=True)
        self.minute()
        self.assertEqual('Running', self.reload(record).status)
        self.api.fail.clear()
        self.minute()
        self.assertEqual({'create': None, 'start': None},
                         self.actions(record))
        self.api.set_state(record.uuid, 'exited', exit_code=0)
        self.minute()
        self.assertEqual('Stopped', self.reload(record).status)

    def test_a_user_who_looks_first(self) -> None:
        record = self.create()
        self.boot(late=True)
        self.api.fail.clear()
        self.assertEqual('Stopped', self.does('show', record).status)
        self.minute()
        self.assertEqual('Running', self.reload(record).status)

    def test_a_user_who_stops_it_first(self) -> None:
        stopped, killed = self.create(), self.create()
        self.boot(late=True)
        self.api.fail.clear()
        self.does('stop', stopped, None)
        self.does('kill', killed, 'SIGKILL')
        self.minute()
        self.assertEqual(['Stopped'] * 2, [self.reload(r).status
                                           for r in (stopped, killed)])

    def test_one_that_is_removed_when_it_ends(self) -> None:
        """As at a start where the node answers: it runs again."""
        for late in (False, True):
            record = self.create(auto_remove=True)
            self.boot(late)
            self.api.fail.clear()
            self.minute()
            self.assertEqual('Running', self.reload(record).status)

    def test_one_that_was_deleted_and_one_that_vanished(self) -> None:
        gone, lost = self.create(), self.create()
        self.boot(late=True)
        self.api.fail.clear()
        self.delete(gone)
        del self.api.pods[lost.uuid]
        self.minute()
        self.assertEqual('Error', self.reload(lost).status)


class TestInterrupted(StartTestCase):

    def test_rebuild(self) -> None:
        for running in (True, False):
            record = self.create(run=running)
            record.status = 'Rebuilding'
            record.task_state = 'container_rebuilding'
            record.save(self.context)
            del self.api.pods[record.uuid]
            self.start_zun_compute()
            record = self.reload(record)
            self.assertEqual(('Error', None), (record.status,
                                               record.task_state))
            self.assertIn('interrupted the rebuild', record.status_reason)
            self.assertEqual('Created', self.rebuild(record).status)

    def test_create(self) -> None:
        record = self.container(task_state='container_creating')
        self.start_zun_compute()
        record = self.reload(record)
        self.assertEqual(('Error', None), (record.status, record.task_state))
        self.placement.allocations.add(record.uuid)
        self.assertIsNone(self.delete(record))
        self.assert_nothing_left()

    def test_kill(self) -> None:
        record = self.create()
        record.task_state = 'container_killing'
        record.save(self.context)
        self.start_zun_compute()
        record = self.reload(record)
        self.assertEqual(('Stopped', None), (record.status,
                                             record.task_state))

    def test_stop_and_delete(self) -> None:
        stopping, deleting = self.create(), self.create()
        for record, task in ((stopping, 'container_stopping'),
                             (deleting, 'container_deleting')):
            record.task_state = task
            record.save(self.context)
        self.start_zun_compute()
        self.assertEqual('Stopped', self.reload(stopping).status)
        self.assertIsNone(self.find(deleting))
        self.assertEqual({stopping.uuid}, self.placement.allocations)


class TestWithoutResume(StartTestCase):

    def test_zuns_default(self) -> None:
        for late in (False, True):
            record = self.create()
            self.boot(late)
            self.api.fail.clear()
            self.minute()
            self.assertEqual('Stopped', self.reload(record).status)
