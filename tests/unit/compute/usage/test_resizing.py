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

from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import labels
from kata_openstack.compute.usage import resizing
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded import guest_client
from tests.unit import base
from tests.unit import fake_containerd

MIB = 1024 * 1024


class ResizingTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        client = cri.CriClient(self.fake.conf)
        self.addCleanup(client.close)
        self.container = self.fake.state.containers['c'] = pb.Container(
            id='c', pod_sandbox_id='s', labels={labels.CONTAINER: 'uuid'},
            state=pb.CONTAINER_RUNNING)
        client.container_stats = lambda container_id: pb.ContainerStats(
            memory=pb.MemoryUsage(
                working_set_bytes=pb.UInt64Value(value=50 * MIB)))
        client.update_container = self.update = mock.Mock()
        self.room(guest_client.Room(2, 192))
        self.subject = resizing.Resizing(
            self.fake.conf, client, containers.Containers(
                self.fake.conf, client,
                native.NativeClient(self.fake.conf, client.channel)))

    def room(self, room):
        patch = mock.patch.object(guest_client, 'room', return_value=room)
        patch.start()
        self.addCleanup(patch.stop)

    def refuses(self, words, *limits, cls=exception.Conflict):
        error = self.assertRaises(cls, self.subject.resize, 'uuid', *limits,
                                  False)
        self.assertIn(words, str(error))
        self.update.assert_not_called()

    def test_within_the_vm(self):
        for cpus, memory, limits in (
                (2.0, 192, (200000, 100000, 192 * MIB)),
                (0.5, None, (50000, 100000, 0)), (None, 51, (0, 0, 51 * MIB))):
            self.subject.resize('uuid', cpus, memory, False)
            found = self.update.call_args.args[1]
            self.assertEqual(limits, (found.cpu_quota, found.cpu_period,
                                      found.memory_limit_in_bytes))
            self.assertEqual('c', self.update.call_args.args[0])

    def test_a_check_changes_nothing(self):
        self.subject.resize('uuid', 1.0, 128, True)
        self.update.assert_not_called()

    def test_beyond_the_vm(self):
        self.refuses('at most 192 MiB, not 193', None, 193)
        self.refuses('at most 2 CPUs, not 2.5', 2.5, None)
        self.refuses('Stop the container first', 2.5, None)

    def test_a_limit_that_would_kill_it(self):
        self.refuses('using 50 MiB, more than the new limit of 50', None, 50)

    def test_limits_that_are_too_small_for_all(self):
        self.refuses('too small', 0.0001, None, cls=exception.InvalidInput)
        self.refuses('too small', None, 1, cls=exception.InvalidInput)
        self.container.state = pb.CONTAINER_EXITED
        self.refuses('too small', None, 1, cls=exception.InvalidInput)

    def test_a_stopped_container_gets_them_at_its_start(self):
        self.container.state = pb.CONTAINER_EXITED
        self.subject.resize('uuid', 64.0, 9999, False)
        self.update.assert_not_called()

    def test_another_runtime_decides_itself(self):
        self.room(None)
        self.subject.resize('uuid', 64.0, 9999, False)
        self.update.assert_called_once()
