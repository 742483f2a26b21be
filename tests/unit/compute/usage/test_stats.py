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

from google.protobuf import any_pb2
from google.protobuf import message

from kata_openstack.compute.network import plugging
from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import labels
from kata_openstack.compute.usage import stats
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.containerd.protos import metrics_pb2
from kata_openstack.runtime.embedded.shim import metrics
from tests.unit import base
from tests.unit import fake_containerd

MIB = 1024 * 1024


def of_the_shim(raw, moved):
    answer = metrics.encode(raw, moved)['stats']
    return any_pb2.Any(type_url=answer['type_url'], value=answer['value'])


class DecodeTest(base.TestCase):

    def test_of_the_embedded_runtime(self):
        self.assertEqual(
            stats.Figures(5 * MIB, 100, 200),
            stats.decode(of_the_shim({'memory.max': 5 * MIB}, [(100, 200)])))

    def test_of_a_runtime_with_cgroups_v1(self):
        one = metrics_pb2.Metrics1(
            memory=metrics_pb2.Memory1(
                usage=metrics_pb2.MemoryEntry(limit=7)),
            blkio=metrics_pb2.BlkIo(io_service_bytes_recursive=[
                metrics_pb2.BlkIoEntry(op=op, value=value)
                for op, value in (('Read', 1), ('Write', 2), ('Read', 10),
                                  ('Total', 13))]))
        self.assertEqual(stats.Figures(7, 11, 2), stats.decode(any_pb2.Any(
            type_url='io.containerd.cgroups.v1.Metrics',
            value=one.SerializeToString())))

    def test_of_anything_else(self):
        self.assertEqual(stats.Figures(), stats.decode(
            any_pb2.Any(type_url='other', value=b'anything')))
        self.assertRaises(message.DecodeError, stats.decode, any_pb2.Any(
            type_url='io.containerd.cgroups.v2.Metrics', value=b'\xff'))


class CpuMeterTest(base.TestCase):

    @staticmethod
    def reading(seconds, used):
        return pb.CpuUsage(
            timestamp=int(seconds * 1e9),
            usage_core_nano_seconds=pb.UInt64Value(value=int(used * 1e9)),
            usage_nano_cores=pb.UInt64Value(value=9))

    def test_two_readings(self):
        meter = stats.CpuMeter()
        self.assertIsNone(meter.percent('c', self.reading(1, 5)))
        self.assertEqual(25.0, meter.percent('c', self.reading(3, 5.5)))
        # the container was restarted, so its CPU time is counted from 0
        self.assertEqual(0.0, meter.percent('c', self.reading(5, 0.1)))

    def test_an_old_reading_says_nothing_about_now(self):
        meter = stats.CpuMeter()
        meter.percent('c', self.reading(1, 5))
        self.assertIsNone(meter.percent('c', self.reading(62, 6)))
        self.assertEqual(50.0, meter.percent('c', self.reading(64, 7)))


class StatsTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        conf = self.fake.conf
        client = cri.CriClient(conf)
        self.addCleanup(client.close)
        self.fake.state.sandboxes['s'] = pb.PodSandbox(
            id='s', annotations={labels.VM_MIB: '256'})
        self.fake.state.containers['c'] = pb.Container(
            id='c', pod_sandbox_id='s', labels={labels.CONTAINER: 'uuid'},
            annotations={labels.MEMORY_MIB: '128'},
            state=pb.CONTAINER_RUNNING)
        native_ = native.NativeClient(conf, client.channel)
        self.readings = [(1, 1), (2, 1.5), (4, 2)]
        client.container_stats = lambda container_id: pb.ContainerStats(
            cpu=CpuMeterTest.reading(*self.readings.pop(0)),
            memory=pb.MemoryUsage(
                usage_bytes=pb.UInt64Value(value=32 * MIB)))
        self.subject = stats.Stats(
            client, native_,
            containers.Containers(conf, client, native_),
            plugging.Network(conf, client))

    def test_each_field_is_filled(self):
        self.fake.state.metrics = [of_the_shim({'memory.max': 64 * MIB},
                                               [(1, 2)])]
        with mock.patch.object(stats.time, 'sleep') as sleep:
            found = self.subject.get('uuid')
            sleep.assert_called_once_with(1)
            self.assertEqual(
                {'cpu_percent': 50.0, 'memory_mib': 32.0,
                 'memory_limit_mib': 64, 'memory_percent': 50.0,
                 'block_read': 1, 'block_write': 2, 'net_rx': 0,
                 'net_tx': 0}, found)
            # the next one needs no second reading
            self.assertEqual(25.0, self.subject.get('uuid')['cpu_percent'])
            sleep.assert_called_once_with(1)

    def test_a_runtime_that_tells_nothing_more(self):
        with mock.patch.object(stats.time, 'sleep'):
            found = self.subject.get('uuid')
        self.assertEqual((128, 0, 0), (
            found['memory_limit_mib'], found['block_read'],
            found['block_write']))
