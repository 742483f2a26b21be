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

from oslo_utils import uuidutils
from zun.common import exception as zun_exc
from zun.container import driver as zun_driver
from zun import objects as zun_objects

from kata_openstack import exception
from kata_openstack.zun_driver import capsule as module
from kata_openstack.zun_driver import container as container_module
from tests.unit.zun_driver import base


class TestCapsule(base.DriverTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.driver = module.KataCapsuleDriver()

    def capsule(self, count=2, **values):
        """A capsule as zun-api passes it to zun-compute."""
        common = {'project_id': 'p1', 'user_id': 'u1', 'status': 'Creating',
                  'restart_policy': {'Name': 'always',
                                     'MaximumRetryCount': '0'}}
        capsule = zun_objects.Capsule(self.context, **common, **{
            'uuid': uuidutils.generate_uuid(), 'name': 'two', 'host':
            base.HOST, 'image': 'kubernetes/pause', 'memory': '128',
            'task_state': 'container_creating', **values})
        capsule.create(self.context)
        for i in range(count):
            zun_objects.CapsuleContainer(
                self.context, **common, uuid=uuidutils.generate_uuid(),
                name=f'capsule-two-{i}', image=f'r.example/app{i}:2',
                image_pull_policy='ifnotpresent', memory='64', cpu=0.5,
                capsule_id=capsule.id, command=['sleep', '9'],
            ).create(self.context)
        return zun_objects.Capsule.get_by_uuid(self.context, capsule.uuid)

    def create(self, capsule):
        return self.driver.create_capsule(
            self.context, capsule, {'image': 'kubernetes/pause'},
            self.requested(), {})

    def test_create(self) -> None:
        capsule = self.capsule()
        self.assertIs(capsule, self.create(capsule))
        pod = self.api.requests[capsule.uuid]
        self.assertEqual(('capsule', 'kata'), (pod.kind, pod.runtime))
        self.assertEqual(
            ['r.example/app0:2', 'r.example/app1:2'],
            [c.image for c in pod.containers])
        self.assertEqual([(0.5, 64)] * 2, [(c.cpus, c.memory_mib)
                                           for c in pod.containers])
        saved = self.reload(capsule)
        self.assertEqual('Running', saved.status)
        self.assertEqual('kata-embedded', saved.runtime)
        self.assertEqual('5a' + capsule.uuid, saved.container_id)
        self.assertEqual([self.neutron.NETWORK], list(saved.addresses))
        for member in saved.containers:
            self.assertEqual('Running', member.status)
            self.assertEqual('c0' + member.uuid, member.container_id)
            self.assertEqual(base.HOST, member.host)

    def test_disks(self) -> None:
        """Zun passes its default_disk for containers only."""
        self.addCleanup(module.CONF.clear_override, 'default_disk')
        for default, expected in ((0, None), (3, 3)):
            module.CONF.set_override('default_disk', default)
            capsule = self.create(self.capsule())
            self.assertEqual([expected] * 2, [
                c.disk_gib for c in
                self.api.requests[capsule.uuid].containers])
            self.assertEqual([expected] * 2, [
                c.disk or None for c in self.reload(capsule).containers])

    def test_digest(self) -> None:
        capsule = self.capsule(count=1)
        (member,) = capsule.containers
        member.image = f'r.example/pin:1@sha256:{"1" * 64}'
        self.create(capsule)
        name = f'r.example/pin@sha256:{"1" * 64}'
        self.assertEqual(
            ([name], [name]),
            ([call[2] for call in self.api.calls
              if call[0] == 'pull_image'],
             [c.image for c in self.api.requests[capsule.uuid].containers]))

    def test_a_malformed_digest_leaves_nothing(self) -> None:
        capsule = self.capsule(count=1)
        (member,) = capsule.containers
        member.image = 'r.example/pin@sha256:12'
        self.assertRaises(zun_exc.Invalid, self.create, capsule)
        self.assertIn('its digest is not', member.status_reason)
        self.assertEqual([], self.api.calls)

    def test_annotation_chooses_the_runtime(self) -> None:
        capsule = self.capsule(
            annotations={'kata-openstack.io/runtime': 'kata-clh'})
        self.create(capsule)
        self.assertEqual('kata-clh', self.api.requests[capsule.uuid].runtime)

    def test_annotation_of_another_type(self) -> None:
        capsule = self.capsule(
            annotations={'kata-openstack.io/runtime': ['kata']})
        self.assertRaises(zun_exc.Invalid, self.create, capsule)
        self.assertEqual({}, self.neutron.ports)

    def test_annotations_say_what_is_needed(self) -> None:
        capsule = self.capsule(annotations={
            'kata-openstack.io/needs': 'resize,nydus',
            'kata-openstack.io/isolation': 'hardware',
            'io.katacontainers.config.hypervisor.kernel_params': 'x'})
        self.create(capsule)
        pod = self.api.requests[capsule.uuid]
        self.assertEqual((['nydus', 'resize'], 'hardware'),
                         (pod.needs, pod.isolation))

    def test_each_image_says_what_it_needs(self) -> None:
        self.api.labels = {
            'r.example/app0:2': {'kata-openstack.io/needs': 'nydus'},
            'r.example/app1:2': {'kata-openstack.io/needs': 'resize',
                                 'kata-openstack.io/isolation': 'hardware'}}
        capsule = self.capsule()
        self.create(capsule)
        pod = self.api.requests[capsule.uuid]
        self.assertEqual((['nydus', 'resize'], 'hardware'),
                         (pod.needs, pod.isolation))

    def test_a_need_that_nobody_knows_leaves_nothing(self) -> None:
        capsule = self.capsule(
            annotations={'kata-openstack.io/needs': 'wings'})
        self.assertRaises(zun_exc.Invalid, self.create, capsule)
        self.assertEqual({}, self.neutron.ports)
        self.assertEqual({}, self.api.pods)

    def test_failure_leaves_nothing(self) -> None:
        for method in ('pull_image', 'create_pod', 'start_pod'):
            self.api.fail = {method: exception.ImageNotFound(image='x')}
            capsule = self.capsule()
            self.allocated.add(capsule.uuid)
            self.assertRaises(zun_exc.ImageNotFound, self.create, capsule)
            self.assertEqual(set(), self.allocated)
            self.assertEqual({}, self.neutron.ports)
            self.assertEqual({}, self.api.pods)
            for member in self.reload(capsule).containers:
                self.assertEqual('Error', member.status)
                self.assertIn('Image x was not found', member.status_reason)

    def test_ports_that_do_not_become_active(self) -> None:
        self.config('kata_driver', port_timeout=1)
        self._replace(time, 'sleep', lambda seconds: None)
        self._replace(time, 'monotonic', itertools.count().__next__)
        self.neutron.activate = lambda: False
        raised = self.assertRaises(zun_exc.Conflict, self.create,
                                   self.capsule())
        self.assertIn('is not ACTIVE in Neutron, after 1 s', str(raised))
        self.assertNotIn('start_pod', [call[0] for call in self.api.calls])
        self.assertEqual(({}, {}), (self.neutron.ports, self.api.pods))

    def test_dedicated_cpus_are_refused(self) -> None:
        capsule = self.capsule()
        capsule.containers[0].cpu_policy = 'dedicated'
        raised = self.assertRaises(zun_exc.Invalid, self.create, capsule)
        self.assertIn('dedicated CPUs', str(raised))
        capsule = self.capsule()
        capsule.cpu_policy = 'dedicated'
        self.assertRaises(zun_exc.Invalid, self.create, capsule)
        self.assertEqual({}, self.neutron.ports)

    def test_delete(self) -> None:
        capsule = self.capsule()
        self.create(capsule)
        self.driver.delete_capsule(self.context, capsule, False)
        self.assertEqual(({}, {}), (self.neutron.ports, self.api.pods))

    def test_sync_through_the_container_driver(self) -> None:
        driver = container_module.KataContainerDriver()
        capsule = self.capsule()
        self.create(capsule)
        capsule.task_state = None
        capsule.save(self.context)

        def sync():
            driver.update_containers_states(
                self.context, zun_objects.Capsule.list(self.context), None)
            saved = self.reload(capsule)
            return saved.status, [c.status for c in saved.containers]

        status = self.api.pods[capsule.uuid]
        status.containers[0].state = 'exited'
        self.assertEqual(('Running', ['Stopped', 'Running']), sync())
        status.containers[1].state = 'exited'
        self.assertEqual(('Stopped', ['Stopped', 'Stopped']), sync())
        self.api.fail['list_pods'] = exception.NodeUnavailable(host='h',
                                                               why='x')
        self.api.pods.clear()
        self.assertEqual(('Stopped', ['Stopped', 'Stopped']), sync())
        self.api.fail.clear()
        self.assertEqual(('Error', ['Error', 'Error']), sync())

    def test_loaded_by_zun(self) -> None:
        self.config(capsule_driver='kata')
        self.assertIsInstance(zun_driver.load_capsule_driver(),
                              module.KataCapsuleDriver)
