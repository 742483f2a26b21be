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

import uuid

import fixtures
from google.protobuf import timestamp_pb2
import grpc
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack.compute.events import follower
from kata_openstack.compute.pods import labels
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import events as stream
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.containerd.protos import event_types_pb2 as types

POD = str(uuid.uuid4())
COMMON = {labels.POD: POD, labels.KIND: 'container', labels.PROJECT: 'p',
          labels.USER: 'u', labels.HANDLER: 'kata-embedded'}


class Recorder:

    def __init__(self):
        self.told = []
        self.held = None  # actions that wait for the message broker

    def after_sent(self, action):
        if self.held is None:
            action()
        else:
            self.held.append(action)

    def sandbox(self, event, occurred_at, **fields):
        self.told.append((event, fields['sandbox_id'], fields))

    def container(self, event, occurred_at, **fields):
        self.told.append((event, fields['container_id'], fields))


class FollowerTest(base.TestCase):

    def setUp(self):
        super().setUp()
        fake = self.useFixture(fake_containerd.FakeContainerd())
        self.state, self.conf = fake.state, fake.conf
        self.client = cri.CriClient(fake.conf)
        self.addCleanup(self.client.close)
        self.ended = []
        self.restart()

    def restart(self):
        self.recorder = Recorder()
        self.follower = follower.EventFollower(
            self.conf, self.client,
            native.NativeClient(self.conf, self.client.channel),
            self.recorder, lambda pod, ident: self.ended.append((pod, ident)))

    def see(self, topic, body=None, when=5.0):
        self.follower._handle(stream.Event(topic, when, body))
        self.follower._journal.save()

    def told(self):
        """(event, id) of the notifications since the last call."""
        told = [(event, ident) for event, ident, _ in self.recorder.told]
        self.recorder.told.clear()
        return told

    def sandbox(self, ident='s', **fields):
        self.state.sandboxes[ident] = pb.PodSandbox(
            id=ident, labels=COMMON, **fields)

    def container(self, ident='c', name='c1', **fields):
        self.state.containers[ident] = pb.Container(
            id=ident, created_at=1, labels={
                **COMMON, labels.CONTAINER: str(uuid.uuid5(
                    uuid.NAMESPACE_DNS, name))}, **fields)

    def create(self, *idents):
        for ident in idents:
            self.see('/containers/create', types.ContainerCreate(id=ident))

    def start(self, ident):
        self.see('/tasks/start', types.TaskStart(container_id=ident))

    def exit(self, ident, code=0, process=None):
        self.see('/tasks/exit', types.TaskExit(
            container_id=ident, id=process or ident, exit_status=code,
            exited_at=timestamp_pb2.Timestamp(seconds=5)))

    def delete(self, ident):
        self.see('/containers/delete', types.ContainerDelete(id=ident))

    def test_life(self):
        self.see(stream.CONNECTED)
        self.sandbox()
        self.container()
        self.create('s', 'c')
        self.start('s')
        self.start('c')
        self.exit('c', 9, process='an-exec')
        self.exit('c', 3)
        fields = self.recorder.told[-1][2]
        self.assertEqual(3, fields['exit_code'])
        self.assertEqual(POD, fields['pod_uuid'])
        self.assertNotIn('reason', fields)
        self.exit('s', 137)
        self.delete('c')
        self.delete('s')
        self.assertEqual([
            ('sandbox.create.end', 's'), ('container.create.end', 'c'),
            ('sandbox.start.end', 's'), ('container.start.end', 'c'),
            ('container.exit', 'c'), ('sandbox.exit', 's'),
            ('container.delete.end', 'c'), ('sandbox.delete.end', 's')],
            self.told())

    def test_strangers_are_ignored(self):
        self.state.sandboxes['x'] = pb.PodSandbox(id='x')
        self.create('x', 'gone-already')
        self.start('x')
        self.exit('x')
        self.delete('x')
        self.assertEqual([], self.told())

    def test_a_container_without_our_labels_costs_no_other(self):
        for fresh in (True, False):
            self.follower._journal.fresh = fresh
            self.state.containers['broken'] = pb.Container(
                id='broken', created_at=1, labels=COMMON)
            self.container()
            self.see(stream.CONNECTED)
            self.exit('broken')
            self.exit('c', 2)
            self.assertEqual(('container.exit', 'c'), self.told()[-1])
            self.assertNotIn('broken', self.follower._journal)
            self.follower._journal.clear()

    def test_out_of_memory(self):
        self.container()
        self.create('c')
        self.start('c')
        self.see('/tasks/oom', types.TaskOOM(container_id='c'))
        self.exit('c', 137)
        self.assertEqual('OOMKilled',
                         self.recorder.told[-1][2]['reason'])

    def test_a_replaced_container_goes_on(self):
        self.container('old')
        self.create('old')
        self.start('old')
        self.exit('old')
        self.told()
        self.container('new')
        self.create('new')
        self.start('new')
        self.delete('old')
        self.assertEqual([('container.start.end', 'new')], self.told())
        self.exit('new')
        self.delete('new')
        self.assertEqual([('container.exit', 'new'),
                          ('container.delete.end', 'new')], self.told())

    def test_each_container_that_ended_is_reported(self):
        self.sandbox('s')
        self.container('c', 'c1')
        self.create('s', 'c')
        for ident in ('s', 'c'):
            self.start(ident)
        self.see('/tasks/delete', types.TaskDelete(container_id='c'))
        self.assertEqual([], self.ended)  # that was an exec's
        for ident in ('c', 's'):
            self.exit(ident)
            self.see('/tasks/delete', types.TaskDelete(container_id=ident))
        self.see('/tasks/delete', types.TaskDelete(container_id='other'))
        # the sandbox's end tells why that of its container came
        self.assertEqual([(POD, 'c'), (POD, '')], self.ended)

    def test_missed_while_down(self):
        self.see(stream.CONNECTED)
        self.sandbox('s')
        self.container('c', 'c1')
        self.container('gone', 'c2')
        self.create('s', 'c', 'gone')
        self.start('s')
        self.start('gone')
        self.restart()
        # missed: c started and ended, gone was deleted, new was created
        self.state.containers['c'].state = pb.CONTAINER_EXITED
        self.state.exits['c'] = 4
        del self.state.containers['gone']
        self.container('new', 'c3', state=pb.CONTAINER_RUNNING)
        self.see(stream.CONNECTED)
        codes = {i: f.get('exit_code') for e, i, f in self.recorder.told
                 if e == 'container.exit'}
        self.assertEqual({'c': 4, 'gone': None}, codes)
        self.assertEqual({
            ('container.start.end', 'c'), ('container.exit', 'c'),
            ('container.exit', 'gone'), ('container.delete.end', 'gone'),
            ('container.create.end', 'new'), ('container.start.end', 'new'),
        }, set(self.told()))
        self.see(stream.CONNECTED)
        self.assertEqual([], self.told())

    def test_what_was_not_sent_is_told_by_the_next_process(self):
        self.see(stream.CONNECTED)
        self.container()
        self.create('c')
        self.recorder.held = []
        self.start('c')
        self.exit('c', 3)
        self.restart()
        self.state.containers['c'].state = pb.CONTAINER_EXITED
        self.see(stream.CONNECTED)
        self.assertIn(('container.exit', 'c'), self.told())
        self.restart()
        self.see(stream.CONNECTED)
        self.assertEqual([], self.told())

    def test_without_a_journal_nothing_is_told_twice(self):
        self.sandbox()
        self.container(state=pb.CONTAINER_RUNNING)
        self.see(stream.CONNECTED)
        self.assertEqual([], self.told())
        self.exit('c', 1)
        self.assertEqual([('container.exit', 'c')], self.told())

    def test_the_thread_outlives_any_error_of_the_stream(self):
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.events.follower._RECONNECT_PAUSE', 0.0))
        self.see(stream.CONNECTED)
        self.container()
        self.create('c')

        class Stream:
            tries = 0

            def __iter__(self):
                self.tries += 1
                if self.tries == 1:
                    raise ValueError('a closed channel')
                return iter([stream.Event('/tasks/start', 2.0,
                                          types.TaskStart(container_id='c'))])
        self.follower._stream = Stream()
        self.told()
        self.follower._follow()
        self.assertEqual([('container.start.end', 'c')], self.told())

    def test_comparison_that_fails_is_harmless(self):
        self.see(stream.CONNECTED)
        self.container()
        self.create('c')
        self.told()
        # missed: a new container, and the deletion of one
        del self.state.containers['c']
        self.container('d', 'c2')
        self.state.fail['ListContainers'] = (grpc.StatusCode.UNAVAILABLE, '')
        connections = [[stream.Event(stream.CONNECTED, 1.0, None),
                        stream.Event('/tasks/start', 2.0,
                                     types.TaskStart(container_id='c'))], []]

        class Stream:

            def __iter__(self):
                return iter(connections.pop(0))
        self.follower._stream = Stream()
        self.follower._follow()
        # what could not be compared is unknown, and the stream goes on
        self.assertEqual([('container.start.end', 'c')], self.told())
        self.assertEqual({'c'}, set(self.follower._journal))
        self.assertEqual([[]], connections)
        self.state.fail.clear()
        self.see(stream.CONNECTED)
        self.assertEqual([('container.create.end', 'd'),
                          ('container.exit', 'c'),
                          ('container.delete.end', 'c')], self.told())
