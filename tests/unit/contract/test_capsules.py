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

"""Capsules through Zun's own Manager."""

import contextlib

from oslo_utils import fixture
from oslo_utils import uuidutils
from zun import objects as zun_objects

from kata_openstack import exception
from tests.unit.contract import base


class CapsuleTestCase(base.ContractTestCase):

    def capsule(self, count=2, policy='no', most=0):
        """A capsule as zun-api makes it."""
        common = {'project_id': 'p1', 'user_id': 'u1', 'status': 'Creating',
                  'restart_policy': {'Name': policy,
                                     'MaximumRetryCount': str(most)}}
        capsule = zun_objects.Capsule(
            self.context, **common, uuid=uuidutils.generate_uuid(),
            name='two', image='kubernetes/pause', image_driver='docker',
            memory='128', cpu=0.0)
        capsule.create(self.context)
        for i in range(count):
            self.member(capsule, zun_objects.CapsuleContainer,
                        f'r.example/app{i}:2', **common)
        return self.reload(capsule)

    def member(self, capsule, kind, image, **values):
        kind(self.context, **{
            'uuid': uuidutils.generate_uuid(), 'name': 'm', 'image': image,
            'image_pull_policy': 'always', 'memory': '64', 'cpu': 0.5,
            'project_id': 'p1', 'user_id': 'u1', 'status': 'Creating',
            'capsule_id': capsule.id, **values}).create(self.context)

    def create(self, capsule, volumes=None):
        self.zun.container_create(
            self.context, capsule, {}, self.requested(), volumes or {}, False)
        return self.reload(capsule)

    def states(self, capsule):
        return [capsule.status, *(c.status for c in capsule.containers)]

    def volume(self):
        return zun_objects.VolumeMapping(
            self.context, project_id='p1', user_id='u1',
            cinder_volume_id=uuidutils.generate_uuid(),
            volume_provider='cinder', container_path='/data',
            auto_remove=False)


class TestCapsules(CapsuleTestCase):

    def test_life(self) -> None:
        capsule = self.create(self.capsule())
        self.assertEqual(['Running'] * 3, self.states(capsule))
        self.assertEqual(
            (None, base.HOST, 'kata-embedded', {capsule.uuid}),
            (capsule.task_state, capsule.host, capsule.runtime,
             self.placement.allocations))
        self.assertEqual([capsule.uuid], list(self.api.pods))
        self.api.pods[capsule.uuid].containers[1].state = 'exited'
        self.minute()
        capsule = self.reload(capsule)
        self.assertEqual(['Running', 'Running', 'Stopped'],
                         self.states(capsule))
        self.assertIsNone(self.delete(capsule))
        self.assert_nothing_left()

    def test_failures_leave_nothing(self) -> None:
        for method in ('pull_image', 'create_pod', 'start_pod'):
            self.api.fail = {method: exception.ImageNotFound(image='x')}
            capsule = self.create(self.capsule())
            self.assertEqual(['Error'] * 3, self.states(capsule))
            for record in (capsule, *capsule.containers):
                self.assertIn('Image x', record.status_reason)
            self.assertIsNone(capsule.host)
            self.assert_nothing_left()

    def test_a_failed_delete_can_be_repeated(self) -> None:
        capsule = self.create(self.capsule())
        self.api.fail = {'delete_pod': exception.RuntimeFailed(
            operation='StopPodSandbox', why='hung')}
        capsule.task_state = 'container_deleting'  # zun-api
        capsule.save(self.context)
        with contextlib.suppress(Exception):  # the thread of zun-compute ends
            self.zun.container_delete(self.context, capsule)
        capsule = self.reload(capsule)
        self.assertEqual(('Error', None),
                         (capsule.status, capsule.task_state))
        self.assertIn('hung', capsule.status_reason)
        self.api.fail = {}
        self.assertIsNone(self.delete(capsule))
        self.assert_nothing_left()

    def test_a_pod_that_vanished(self) -> None:
        capsule = self.create(self.capsule())
        self.api.pods.clear()
        self.minute()
        capsule = self.reload(capsule)
        self.assertEqual(['Error'] * 3, self.states(capsule))
        self.assertIn('not on this node', capsule.status_reason)
        self.assertIsNone(self.delete(capsule))
        self.assert_nothing_left()


class TestVolumes(CapsuleTestCase):

    def test_a_container_with_a_volume(self) -> None:
        record = super(CapsuleTestCase, self).create(volumes=[self.volume()])
        self.assertEqual(('Error', None), (record.status, record.host))
        self.assertIn('Cinder volumes', record.status_reason)
        self.assert_nothing_left()
        self.assertEqual([], zun_objects.VolumeMapping.list(self.admin))

    def test_a_capsule_with_a_volume(self) -> None:
        for which in (0, 1):
            capsule = self.capsule()
            other = self.create(self.capsule())
            member = capsule.containers[which]
            capsule = self.create(capsule, {member.uuid: [self.volume()]})
            self.assertEqual(['Error'] * 3, self.states(capsule))
            for record in (capsule, *capsule.containers):
                self.assertIn('Cinder volumes', record.status_reason)
            self.assertEqual(['Running'] * 3,
                             self.states(self.reload(other)))
            self.assertIsNone(self.delete(other))
            self.assert_nothing_left()

    def test_a_volume_of_an_init_container(self) -> None:
        capsule = self.capsule(count=1)
        self.member(capsule, zun_objects.CapsuleInitContainer, 'init:1')
        capsule = self.reload(capsule)
        (first,) = capsule.init_containers
        capsule = self.create(capsule, {first.uuid: [self.volume()]})
        self.assertEqual(['Error'] * 2, self.states(capsule))
        self.assert_nothing_left()

    def test_volumes_of_another_driver(self) -> None:
        """With remount_container_volume, a start attaches them again."""
        record = super(CapsuleTestCase, self).create()
        volume = self.volume()
        volume.container_uuid = record.uuid
        volume.create(self.context)
        self.config('compute', remount_container_volume=True)
        self.start_zun_compute()
        self.assertEqual({record.uuid}, self.placement.allocations)


class TestRestartPolicies(CapsuleTestCase):

    def test_the_node_gets_them(self) -> None:
        for policy, most, restart in (
                ('always', 0, 'always'), ('no', 0, ''),
                ('on-failure', 0, 'on-failure'),
                ('on-failure', 3, 'on-failure:3')):
            capsule = self.create(self.capsule(policy=policy, most=most))
            self.assertEqual(('Running', None), (capsule.status,
                                                 capsule.status_reason))
            pod = self.api.requests[capsule.uuid]
            self.assertEqual([restart] * 2,
                             [c.restart for c in pod.containers])


    def test_why_they_cannot_restart(self) -> None:
        capsule = self.create(self.capsule(policy='always'))
        pod = self.api.pods[capsule.uuid]
        for state in ('running', 'exited'):
            for container in pod.containers:
                container.state = state
            pod.problem = 'The node is full.'
            self.minute()
            self.assertEqual('The node is full.',
                             self.reload(capsule).status_reason)
        pod.problem = ''
        for container in pod.containers:
            container.state = 'running'
        self.minute()
        self.assertEqual(('Running', None), (
            self.reload(capsule).status, self.reload(capsule).status_reason))


class TestInitContainers(CapsuleTestCase):

    def with_inits(self):
        capsule = self.capsule(policy='always')
        for number in range(2):
            self.member(capsule, zun_objects.CapsuleInitContainer,
                        f'r.example/init{number}:2', restart_policy={
                            'Name': 'on-failure', 'MaximumRetryCount': '10'})
        return self.reload(capsule)

    def test_order_and_states(self) -> None:
        capsule = self.create(self.with_inits())
        pod = self.api.requests[capsule.uuid]
        self.assertEqual(
            [('r.example/init0:2', True, ''), ('r.example/init1:2', True, ''),
             ('r.example/app0:2', False, 'always'),
             ('r.example/app1:2', False, 'always')],
            [(c.image, c.init, c.restart) for c in pod.containers])
        status = self.api.pods[capsule.uuid]
        for container in status.containers[:2]:
            container.state, container.exit_code = 'exited', 0
        self.minute()
        capsule = self.reload(capsule)
        self.assertEqual(['Running'] * 3, self.states(capsule))
        self.assertEqual(['Stopped'] * 2,
                         [c.status for c in capsule.init_containers])

    def test_one_that_fails(self) -> None:
        self.api.fail['start_pod'] = exception.Conflict(
            kind='Init container', id='m', state='of no use: it ended with '
            'exit code 3', remedy='Correct its command.')
        capsule = self.create(self.with_inits())
        self.assertEqual(['Error'] * 3, self.states(capsule))
        self.assertEqual(['Error'] * 2,
                         [c.status for c in capsule.init_containers])
        self.assertIn('exit code 3', capsule.status_reason)
        self.assert_nothing_left()


class TestLostCreates(CapsuleTestCase):
    """zun-compute died, or the request was lost on its way."""

    def test_they_end_in_error(self) -> None:
        clock = self.useFixture(fixture.TimeFixture())
        lost = [self.capsule(), self.container(host=None)]
        self.placement.allocations = {record.uuid for record in lost}
        clock.advance_time_seconds(500)
        self.minute()
        self.assertEqual(['Creating'] * 2,
                         [self.reload(record).status for record in lost])
        self.assertEqual(2, len(self.placement.allocations))
        clock.advance_time_seconds(101)
        self.minute()
        capsule, container = map(self.reload, lost)
        self.assertEqual(['Error'] * 4, [*self.states(capsule),
                                         container.status])
        self.assertIn('did not reach a node', container.status_reason)
        self.assert_nothing_left()

    def test_a_failure_of_the_claim(self) -> None:
        """Zun's manager handles only a lack of resources."""
        clock = self.useFixture(fixture.TimeFixture())
        self.placement.fail = ValueError('surprise')
        records = [self.create(self.capsule()),
                   super(CapsuleTestCase, self).create()]
        self.placement.fail = None
        self.assertEqual([('Creating', base.HOST)] * 2, [
            (record.status, record.host) for record in records])
        clock.advance_time_seconds(601)
        self.minute()
        for record in map(self.reload, records):
            self.assertEqual('Error', record.status)
            self.assertIn('without a result', record.status_reason)
            self.assertIsNone(self.delete(record))
        self.assert_nothing_left()

    def test_one_that_takes_long(self) -> None:
        clock = self.useFixture(fixture.TimeFixture())
        record = self.container(task_state='container_creating')
        clock.advance_time_seconds(5000)
        self.minute()
        self.assertEqual('Creating', self.reload(record).status)

    def test_one_that_reached_a_node_meanwhile(self) -> None:
        clock = self.useFixture(fixture.TimeFixture())
        record = self.container(host=None)
        clock.advance_time_seconds(700)
        listed = zun_objects.Container.list(self.admin)
        current = self.reload(record)
        current.host = base.HOST
        current.task_state = 'container_creating'
        current.save(self.context)
        self.manager.driver.update_containers_states(
            self.admin, listed, self.manager)
        self.assertEqual('Creating', self.reload(record).status)
