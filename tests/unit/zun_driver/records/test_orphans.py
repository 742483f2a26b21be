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

import time
from unittest import mock

from oslo_db import exception as db_exc
from oslo_utils import uuidutils
from zun import objects as zun_objects

from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.zun_driver import container as module
from kata_openstack.zun_driver.records import background
from tests.unit.zun_driver import base


class TestOrphans(base.DriverTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.driver = module.KataContainerDriver()
        self.config(group='kata_driver', orphaned_pod_action='delete')
        self.known = self.pod(self.container(status='Running').uuid)

    def pod(self, uuid=None, age=700.0, kind='container'):
        """Add a pod on the node.

        :param age: in seconds; None if it is unknown
        """
        uuid = uuid or uuidutils.generate_uuid()
        self.api.pods[uuid] = objects.PodStatus(
            uuid=uuid, kind=kind, sandbox_id='5a' + uuid, ready=True,
            handler='kata-embedded',
            created_at=None if age is None else time.time() - age)
        return uuid

    def capsule(self):
        record = zun_objects.Capsule(
            self.context, uuid=uuidutils.generate_uuid(), name='c',
            project_id='p1', user_id='u1', host=base.HOST, image='x',
            status='Running')
        record.create(self.context)
        return record

    def sync(self):
        """Synchronise as Zun's manager does every minute."""
        for kind in (zun_objects.Container, zun_objects.Capsule):
            self.driver.update_containers_states(
                self.context, kind.list(self.context), mock.Mock())
        return set(self.api.pods) - {self.known}

    @property
    def deleted(self):
        return [c[2:] for c in self.api.calls if c[0] == 'delete_pod']

    def test_forgotten(self) -> None:
        with self.assertLogs('kata_openstack.zun_driver.records.orphans',
                             'WARNING') as logs:
            gone = self.pod()
            self.sync()
            self.assertEqual([(gone, True)], self.deleted)
        self.assertIn(gone, logs.output[0])

    def test_by_default_they_are_logged_only(self) -> None:
        base.CONF.clear_override('orphaned_pod_action', 'kata_driver')
        kept = self.pod()
        with self.assertLogs('kata_openstack.zun_driver.records.orphans',
                             'WARNING') as logs:
            self.assertEqual({kept}, self.sync())
        self.assertIn(kept, logs.output[0])

    def test_a_database_without_any_of_this_nodes_pods(self) -> None:
        kept = {self.pod(), self.pod()}
        zun_objects.Container.list(self.context)[0].destroy(self.context)
        with self.assertLogs('kata_openstack.zun_driver.records.orphans',
                             'ERROR') as logs:
            self.assertEqual(kept, self.sync())
        self.assertIn('[database] connection', logs.output[0])

    def test_only_some_are_deleted_in_one_round(self) -> None:
        for _ in range(23):
            self.pod()
        self.assertEqual(3, len(self.sync()))  # two rounds
        self.assertEqual(set(), self.sync())

    def test_those_that_hang_do_not_hold_up_others(self) -> None:
        hanging = [self.pod() for _ in range(10)]
        self._replace(background, '_MOST', 100)
        self._replace(background, '_busy', set(hanging))
        self.pod()
        self.assertEqual(set(hanging), self.sync())

    def test_one_that_gets_a_record_meanwhile(self) -> None:
        tasks = []
        self._replace(background, 'start', lambda uuid, task: (
            tasks.append(task) is None))
        kept = self.pod()
        self.sync()
        self.container(uuid=kept, status='Running')
        tasks[0]()
        self.assertEqual({kept}, self.sync())

    def test_forgotten_beside_others(self) -> None:
        gone = {self.pod(), self.pod(kind='capsule')}
        kept = {self.pod(self.container(status='Running').uuid),
                self.pod(self.capsule().uuid, kind='capsule')}
        self.assertEqual(kept, self.sync())
        self.assertEqual({(uuid, True) for uuid in gone}, set(self.deleted))

    def test_young_or_of_unknown_age(self) -> None:
        kept = {self.pod(age=500.0), self.pod(age=None)}
        self.assertEqual(kept, self.sync())

    def test_record_that_the_callers_context_does_not_show(self) -> None:
        uuid = self.pod(self.container(status='Running').uuid)
        self.context.project_id = 'p2'
        self.assertEqual([], list(zun_objects.Container.list(self.context)))
        self.assertEqual({uuid}, self.sync())

    def test_failed_creates(self) -> None:
        """Zun has unset the host, so a delete calls no driver."""
        kept = {self.pod(self.container(**values).uuid) for values in (
            {'host': None}, {'status': 'Error'}, {'status': 'Creating'},
            {'host': 'node-2', 'status': 'Error'},
            {'host': 'node-2', 'status': 'Running'})}
        self.pod(self.container(host=None, status='Error').uuid)
        self.assertEqual(kept, self.sync())

    def test_uncertainty(self) -> None:
        uuid = self.pod()
        for where, name, error in (
                (zun_objects.Container, 'list', db_exc.DBConnectionError()),
                (zun_objects.Capsule, 'list', ValueError('surprise'))):
            with mock.patch.object(where, name, side_effect=error):
                self.driver.update_containers_states(self.context, [],
                                                     mock.Mock())
        self.api.fail['list_pods'] = exception.NodeUnavailable(host='h',
                                                               why='x')
        self.assertEqual({uuid}, self.sync())
        self.assertEqual([], self.deleted)

    def test_one_that_cannot_be_deleted(self) -> None:
        for _ in range(2):
            self.pod()
        self.api.fail['delete_pod'] = exception.RuntimeFailed(
            operation='x', why='y')
        record = self.container(status='Running', container_id='5a')
        self.sync()
        self.assertEqual('Error', self.reload(record).status)
        del self.api.fail['delete_pod']
        self.assertEqual(set(), self.sync())

    def test_only_what_is_not_known_is_looked_up(self) -> None:
        record = zun_objects.Container.list(self.context)[0]
        with mock.patch.object(zun_objects.Container, 'list',
                               side_effect=AssertionError('asked')) as asked:
            self.driver.update_containers_states(self.context, [record],
                                                 mock.Mock())
        asked.assert_not_called()
