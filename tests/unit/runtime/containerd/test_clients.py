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

"""The clients with a real gRPC server."""

import socket
import threading

from google.protobuf import any_pb2
from google.protobuf import timestamp_pb2
import grpc
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import events
from kata_openstack.runtime.containerd import grpc_channel
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.containerd.protos import event_types_pb2
from kata_openstack.runtime.containerd.protos import events_pb2


class _Case(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        self.client = cri.CriClient(self.fake.conf)
        self.addCleanup(self.client.close)


class CriTest(_Case):

    def test_handlers(self):
        self.fake.state.handlers = ['kata-qemu', 'kata-embedded']
        self.assertEqual({'kata-qemu', 'kata-embedded'},
                         self.client.handlers())

    def test_errors(self):
        code = grpc.StatusCode
        for status, details, expected, words in [
                (code.NOT_FOUND, 'x', exception.NotFound, 'sandbox-1'),
                (code.UNIMPLEMENTED, 'unknown service runtime.v1.R',
                 exception.ContainerdUnavailable, 'unknown service'),
                (code.UNAVAILABLE, 'gone', exception.ContainerdUnavailable,
                 self.client.address),
                (code.UNKNOWN, 'first\n  second.', exception.RuntimeFailed,
                 'StopPodSandbox failed: first second.'),
                (code.UNKNOWN, 'x' * 5000, exception.RuntimeFailed, 'xxx')]:
            self.fake.state.fail['StopPodSandbox'] = (status, details)
            error = self.assertRaises(
                expected, self.client.stop_pod_sandbox, 'sandbox-1')
            self.assertIn(words, str(error))
            self.assertLess(len(str(error)), 1500)

    def test_nobody_there(self):
        self.fake.conf.set_override('address', '/nowhere.sock', 'containerd')
        client = cri.CriClient(self.fake.conf)
        self.addCleanup(client.close)
        error = self.assertRaises(exception.ContainerdUnavailable,
                                  client.version)
        self.assertIn('/nowhere.sock', str(error))

    def test_it_comes_back_while_we_wait(self):
        self.client.version()
        self.fake.stop()
        quick = cri.CriClient(self.fake.conf, grpc_channel.connect(
            self.client.address, patience=0))
        self.addCleanup(quick.close)
        for _ in range(5):  # gRPC waits longer after each failure
            self.assertRaises(exception.ContainerdUnavailable, quick.version)
        back = threading.Timer(0.5, self.fake.start)
        back.start()
        self.addCleanup(back.join)
        self.client.version()

    def test_it_is_still_starting(self):
        self.fake.state.fail['StopPodSandbox'] = (
            grpc.StatusCode.UNKNOWN, 'server is not initialized yet')
        ready = threading.Timer(0.3, self.fake.state.fail.clear)
        ready.start()
        self.addCleanup(ready.join)
        self.client.stop_pod_sandbox('sandbox-1')

    def test_what_was_sent_is_not_sent_again(self):
        self.fake.state.fail['StopPodSandbox'] = (
            grpc.StatusCode.UNAVAILABLE, 'transport is closing')
        self.assertRaises(exception.ContainerdUnavailable,
                          self.client.stop_pod_sandbox, 'sandbox-1')
        self.assertEqual(1, len(self.fake.state.calls))

    def test_own_timeout(self):
        hung = socket.socket(socket.AF_UNIX)
        self.addCleanup(hung.close)
        address = f'{self.client.address}2'
        hung.bind(address)
        hung.listen()
        self.fake.conf.set_override('address', address, 'containerd')
        client = cri.CriClient(
            self.fake.conf, grpc_channel.connect(address), timeout=0.1)
        self.addCleanup(client.close)
        self.assertRaises(exception.RuntimeFailed, client.version)
        self.assertRaises(exception.RuntimeFailed, native.NativeClient(
            self.fake.conf, client.channel, timeout=0.1).snapshotters)

    def test_deadline(self):
        self.fake.state.fail['StartContainer'] = (
            grpc.StatusCode.DEADLINE_EXCEEDED, 'Deadline Exceeded')
        error = self.assertRaises(exception.RuntimeFailed,
                                  self.client.start_container, 'c')
        self.assertIn('longer than the limit', str(error))

    def test_sandbox_request(self):
        self.client.run_pod_sandbox(pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(uid='u'),
            labels={'a': 'b'}), 'kata-embedded')
        _, request = self.fake.state.calls[-1]
        self.assertEqual('kata-embedded', request.runtime_handler)
        found = self.client.list_pod_sandboxes({'a': 'b'})
        self.assertEqual(['u'], [s.metadata.uid for s in found])
        self.assertEqual([], list(self.client.list_pod_sandboxes(
            {'a': 'c'})))


class NativeTest(_Case):

    def test_namespace_is_sent(self):
        client = native.NativeClient(self.fake.conf, self.client.channel)
        client.containers()
        self.assertEqual('k8s.io',
                         self.fake.state.metadata['containerd-namespace'])

    def test_unknown_container(self):
        client = native.NativeClient(self.fake.conf, self.client.channel)
        self.assertRaises(exception.NotFound, client.container, 'c')

    def test_labels_of_images(self):
        client = native.NativeClient(self.fake.conf, self.client.channel)
        client.set_image_label('sha256:1', 'a/b', 'c')
        client.set_image_label('sha256:1', 'd', 'e')
        client.set_image_label('sha256:1', 'd', '')
        self.assertEqual({'a/b': 'c'}, dict(client.image('sha256:1').labels))
        error = self.assertRaises(exception.NotFound, client.set_image_label,
                                  'sha256:none', 'a', 'b')
        self.assertIn('Image sha256:none', str(error))

    def test_leases(self):
        client = native.NativeClient(self.fake.conf, self.client.channel)
        client.add_lease({'other': 'x'})
        ident = client.add_lease({'a/b': 'c'})
        self.assertEqual({ident: {'a/b': 'c'}}, client.leases('a/b'))
        client.remove_lease(ident)
        self.assertEqual({}, client.leases('a/b'))

    def test_only_snapshotters_that_loaded(self):
        client = native.NativeClient(self.fake.conf, self.client.channel)
        self.assertEqual(['native', 'overlayfs'], client.snapshotters())
        request = dict(self.fake.state.calls)['Plugins']
        self.assertEqual(['type==io.containerd.snapshotter.v1'],
                         list(request.filters))


def envelope(topic, body, type_url=None):
    return events_pb2.Envelope(
        topic=topic, timestamp=timestamp_pb2.Timestamp(seconds=5),
        event=any_pb2.Any(
            type_url=type_url or f'containerd.events.{type(body).__name__}',
            value=body.SerializeToString()))


class EventsTest(_Case):

    def test_reconnects(self):
        start = event_types_pb2.TaskStart(container_id='c')
        self.fake.state.streams = [
            [envelope('/tasks/start', start)],
            [envelope('/tasks/start', start,
                      'types.containerd.io/containerd.events.TaskStart'),
             envelope('/tasks/other', start, 'containerd.events.Other')]]
        stream = events.EventStream(self.fake.conf, self.client.channel)
        topics = []
        for event in stream:
            topics.append(event.topic)
            if len(topics) == 5:
                stream.stop()
        self.assertEqual(['connected', '/tasks/start'] * 2 + ['connected'],
                         topics)

    def test_an_unreadable_event_costs_no_other(self):
        start = event_types_pb2.TaskStart(container_id='c')
        broken = envelope('/tasks/start', start)
        broken.event.value = b'\xff\xff'
        self.fake.state.streams = [[broken, envelope('/tasks/start', start)]]
        stream = events.EventStream(self.fake.conf, self.client.channel)
        seen = []
        for event in stream:
            seen.append(event.topic)
            if len(seen) == 2:
                stream.stop()
        self.assertEqual(['connected', '/tasks/start'], seen)

    def test_decode(self):
        event = events.decode(envelope(
            '/tasks/exit', event_types_pb2.TaskExit(
                container_id='c', id='c', exit_status=3)))
        self.assertEqual(('/tasks/exit', 5.0, 3), (
            event.topic, event.timestamp, event.body.exit_status))
