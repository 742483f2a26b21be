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

"""Rotation of logs, with a death at each step."""

import threading
import time

import fixtures
import grpc
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack.compute.logs import rotation
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb


class RotationTest(base.TestCase):

    def setUp(self):
        super().setUp()
        fake = self.useFixture(fake_containerd.FakeContainerd())
        self.state = fake.state
        fake.conf.set_override('max_log_file_mib', 1, 'compute')
        client = cri.CriClient(fake.conf)
        self.addCleanup(client.close)
        self.rotation = rotation.LogRotation(fake.conf, client)
        folder = self.rotation._folder / 'pod'
        folder.mkdir(parents=True)
        self.log = folder / 'uuid.log'
        self.aside = folder / 'uuid.log.1'
        self.state.containers['c'] = pb.Container(
            id='c', state=pb.CONTAINER_RUNNING,
            labels={labels.CONTAINER: 'uuid'})

    def rotate(self):
        self.state.calls.clear()
        self.rotation.rotate()
        return [r.container_id for n, r in self.state.calls
                if n == 'ReopenContainerLog']

    def test_too_large(self):
        self.log.write_bytes(b'x' * 1024 * 1024)
        self.assertEqual([], self.rotate())
        self.log.write_bytes(b'x' * (1024 * 1024 + 1))
        self.assertEqual(['c'], self.rotate())
        self.assertTrue(self.aside.exists())

    def test_a_reopening_that_fails_is_tried_again(self):
        self.log.write_bytes(b'x' * (1024 * 1024 + 1))
        self.state.fail['ReopenContainerLog'] = (
            grpc.StatusCode.UNKNOWN, 'injected')
        self.rotate()
        self.assertTrue(self.log.exists())
        self.state.fail.clear()
        self.assertEqual(['c'], self.rotate())

    def test_a_reopening_that_hangs_delays_others_only_briefly(self):
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.logs.rotation._REOPEN_SECONDS', 0.2))
        hanging, end = threading.Event(), threading.Event()
        self.addCleanup(end.set)
        enter = self.state.enter

        def hang(method, request, context):
            enter(method, request, context)
            if (method, getattr(request, 'container_id', '')) == (
                    'ReopenContainerLog', 'c'):
                hanging.set()
                end.wait(20)
        self.state.enter = hang
        self.state.containers['d'] = pb.Container(
            id='d', state=pb.CONTAINER_RUNNING,
            labels={labels.CONTAINER: 'other'})
        for path in (self.log, self.log.with_name('other.log')):
            path.write_bytes(b'x' * (1024 * 1024 + 1))
        begun = time.monotonic()
        self.assertEqual({'c', 'd'}, set(self.rotate()))
        self.assertLess(time.monotonic() - begun, 10)
        self.assertTrue(hanging.is_set())
        self.assertTrue(self.log.with_name('other.log.1').exists())
        # containerd still writes to the log that it did not reopen
        self.assertEqual((True, False),
                         (self.log.exists(), self.aside.exists()))

    def test_a_reopening_that_is_only_late_loses_nothing(self):
        """containerd has made the new log, but its answer came too late."""
        self.log.write_bytes(b'x' * (1024 * 1024 + 1))

        def late(container_id, **_):
            self.log.write_text('new')
            raise exception.RuntimeFailed(operation='o', why='time-out')
        self.rotation._client.reopen_log = late
        self.rotation.rotate()
        self.assertEqual('new', self.log.read_text())
        self.assertTrue(self.aside.exists())

    def test_a_death_while_a_log_is_put_back(self):
        """Both names are those of one file, which rename() leaves alone."""
        self.log.write_bytes(b'x' * (1024 * 1024 + 1))
        self.aside.hardlink_to(self.log)
        self.assertEqual(['c'], self.rotate())
        self.assertEqual((False, True),
                         (self.log.exists(), self.aside.exists()))

    def test_a_death_between_the_steps(self):
        """containerd writes to the file that was set aside."""
        self.aside.write_text('more and more')
        self.assertEqual(['c'], self.rotate())
        self.log.write_text('')  # containerd has made it
        self.assertEqual([], self.rotate())

    def test_a_container_that_has_ended(self):
        self.aside.write_text('the end')
        self.state.containers['c'].state = pb.CONTAINER_EXITED
        self.assertEqual([], self.rotate())

    def test_containerd_is_asked_once_about_an_ended_container(self):
        self.state.containers['c'].state = pb.CONTAINER_EXITED
        for file in (self.aside, self.log):
            file.write_bytes(b'x' * (1024 * 1024 + 1))
            self.assertEqual([], self.rotate())
            self.assertEqual(['ListContainers'],
                             [name for name, _ in self.state.calls])
            self.rotate()
            self.assertEqual([], self.state.calls)
        # it has been started again, and writes
        self.state.containers['c'].state = pb.CONTAINER_RUNNING
        with self.log.open('ab') as log:
            log.write(b'y')
        self.assertEqual(['c'], self.rotate())

    def test_deleted_logs_are_forgotten(self):
        self.state.containers['c'].state = pb.CONTAINER_EXITED
        self.log.write_bytes(b'x' * (1024 * 1024 + 1))
        self.rotate()
        self.assertEqual({self.log}, set(self.rotation._ended))
        self.log.unlink()
        self.rotate()
        self.assertEqual({}, self.rotation._ended)
