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

from kata_openstack.compute.network import plugging
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


class KillTest(base.TestCase):

    def test_task_that_ended_just_now(self):
        fake = self.useFixture(fake_containerd.FakeContainerd())
        client = cri.CriClient(fake.conf)
        self.addCleanup(client.close)
        fake.state.containers['c'] = pb.Container(
            id='c', labels={labels.CONTAINER: 'uuid'},
            state=pb.CONTAINER_RUNNING)
        fake.state.fail['Kill'] = (grpc.StatusCode.NOT_FOUND, 'no task')
        subject = containers.Containers(
            fake.conf, client, native.NativeClient(fake.conf, client.channel),
            plugging.Network(fake.conf, client))
        error = self.assertRaises(exception.Conflict, subject.kill, 'uuid',
                                  'TERM')
        self.assertIn('uuid is not running', str(error))


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


class CpuMeterTest(base.TestCase):

    @staticmethod
    def reading(seconds, used, rate=0):
        return pb.CpuUsage(
            timestamp=int(seconds * 1e9),
            usage_core_nano_seconds=pb.UInt64Value(value=int(used * 1e9)),
            usage_nano_cores=pb.UInt64Value(value=int(rate * 1e9)))

    def test_two_readings(self):
        meter = containers._CpuMeter()
        self.assertEqual(0.0, meter.percent('c', self.reading(1, 5)))
        self.assertEqual(25.0, meter.percent('c', self.reading(3, 5.5)))
        # the container was restarted, so its CPU time is counted from 0
        self.assertEqual(0.0, meter.percent('c', self.reading(5, 0.1)))

    def test_containerds_own_rate(self):
        self.assertEqual(150.0, containers._CpuMeter().percent(
            'c', self.reading(1, 5, rate=1.5)))
