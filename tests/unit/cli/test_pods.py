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
import uuid

from tests.unit.compute.pods import test_lifecycle

from kata_openstack.cli import pods
from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb


class PodsTest(test_lifecycle.Case):
    def setUp(self):
        super().setUp()
        self.one, self.other = self.pod(), self.pod(2, kind='capsule')
        for pod in (self.one, self.other):
            self.pods.create(pod)
        self.pods.start(self.other)
        # kubelet's, for example
        self.state.sandboxes['foreign'] = pb.PodSandbox(id='foreign')

    def take(self, command, **arguments):
        app = mock.Mock(conf=self.conf)
        return command(app, None).take_action(mock.Mock(**arguments))

    def show(self, pod):
        return dict(zip(*self.take(pods.Show, uuid=pod.uuid), strict=True))

    def test_list(self):
        titles, rows = self.take(pods.List)
        self.assertEqual(('UUID', 'Kind', 'State', 'Handler', 'Created'),
                         titles)
        self.assertEqual(
            [(self.one.uuid, 'container', 'created', 'kata-embedded'),
             (self.other.uuid, 'capsule', 'running', 'kata-embedded')],
            [row[:4] for row in rows])
        self.assertRegex(rows[0][4], r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$')

    def test_show(self):
        shown = self.show(self.other)
        self.assertEqual('running', shown['state'])
        self.assertEqual('it is a test', shown['handler_reason'])
        self.assertEqual('tcg', shown['accelerator'])
        self.assertEqual(['c0 (registry.test/image:1): running',
                          'c1 (registry.test/image:1): running'],
                         shown['containers'].splitlines())

    def test_one_of_two_containers_has_ended(self):
        last = list(self.state.containers.values())[-1]
        last.state = pb.CONTAINER_EXITED
        self.state.exits[last.id] = 3
        shown = self.show(self.other)
        self.assertEqual('running', shown['state'])
        self.assertIn('c1 (registry.test/image:1): exited 3',
                      shown['containers'])

    def test_a_container_that_never_started(self):
        one, two = list(self.state.containers.values())[-2:]
        one.state = pb.CONTAINER_EXITED
        two.state = pb.CONTAINER_CREATED
        self.assertEqual('created/exited', self.show(self.other)['state'])

    def test_a_vm_that_has_ended(self):
        for sandbox in self.state.sandboxes.values():
            sandbox.state = pb.SANDBOX_NOTREADY
        self.assertEqual('stopped', self.show(self.other)['state'])

    def test_an_unknown_pod(self):
        error = self.assertRaises(exception.NotFound, self.take, pods.Show,
                                  uuid=str(uuid.uuid4()))
        self.assertIn('Pod', str(error))
