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

"""Signals and CPU figures."""

import grpc
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack.compute.pods import admission
from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb


class SignalTest(base.TestCase):

    def test_names_and_numbers(self):
        for name, number in [('9', 9), ('SIGKILL', 9), ('kill', 9),
                             ('term', 15), ('SIGTERM', 15), ('64', 64),
                             ('sigusr1', 10), ('37', 37),
                             ('SIGRTMIN+3', 37), ('rtmin+3', 37),
                             ('SIGRTMAX-1', 63), ('RTMIN', 34)]:
            self.assertEqual(number, containers.signal_number(name))

    def test_refused(self):
        for name in ('', '0', '65', '-9', 'SIGNONE', '9; true', 'None',
                     'SIGRTMIN+31', 'SIGRTMAX-31', 'SIGRTMIN-1', 'SIGTERM+1',
                     'RTMIN+'):
            self.assertRaises(exception.InvalidInput,
                              containers.signal_number, name)


class ContainersTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        client = cri.CriClient(self.fake.conf)
        self.addCleanup(client.close)
        self.fake.state.containers['c'] = pb.Container(
            id='c', labels={labels.CONTAINER: 'uuid'},
            state=pb.CONTAINER_RUNNING)
        self.subject = containers.Containers(
            self.fake.conf, client,
            native.NativeClient(self.fake.conf, client.channel))

    def test_task_that_ended_just_now(self):
        for method, call in (
                ('Kill', lambda: self.subject.kill('uuid', 'TERM')),
                ('Pause', lambda: self.subject.pause('uuid', True))):
            self.fake.state.fail = {
                method: (grpc.StatusCode.NOT_FOUND, 'no task')}
            error = self.assertRaises(exception.Conflict, call)
            self.assertIn('uuid is not running', str(error))

    def test_pause(self):
        self.subject.pause('uuid', True)
        self.subject.pause('uuid', True)
        error = self.assertRaises(exception.Conflict, self.subject.exec_sync,
                                  'uuid', ['true'], 5)
        self.assertIn('is paused', str(error))
        self.assertNotIn('ExecSync', [c[0] for c in self.fake.state.calls])
        self.subject.pause('uuid', False)
        self.subject.pause('uuid', False)
        self.assertEqual(['Pause', 'Resume'], [
            method for method, _ in self.fake.state.calls
            if method in ('Pause', 'Resume')])

    def test_pause_needs_a_running_container(self):
        self.fake.state.containers['c'].state = pb.CONTAINER_EXITED
        self.assertRaises(exception.Conflict, self.subject.pause, 'uuid',
                          True)

    def test_a_runtime_that_does_not_tell_its_state(self):
        self.fake.state.fail['GetTask'] = (grpc.StatusCode.UNAVAILABLE, 'hangs')
        self.subject.pause('uuid', True)
        self.assertIn('c', self.fake.state.paused)


class NumberTest(base.TestCase):

    def test_of_an_annotation(self):
        for text, number in (('512', 512), ('0', 0), ('', 0), ('-1', 0),
                             ('1.5', 0), ('x', 0), ('9' * 5000, 0)):
            self.assertEqual(number, labels.number({'a': text}, 'a'))
        self.assertEqual(5, labels.number({}, 'a', 5))

    def test_a_damaged_cost_costs_no_other_pod(self):
        self.assertEqual(
            {'damaged': 576, 'other': 300}, admission.used_mib(
                pb.PodSandbox(labels={labels.POD: pod},
                              annotations={labels.COST_MIB: cost})
                for pod, cost in (('damaged', '9' * 5000),
                                  ('other', '300'))))
