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

import json
import pathlib
import socket

import docker
import fixtures
from google.protobuf import any_pb2
from tests.unit import base
from tests.unit.compute.console import served
from tests.unit.compute.console import test_channels
from tests.unit import fake_containerd
import websocket

from kata_openstack.compute.console import consoles
from kata_openstack.compute.console import sessions
from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

UUID = '5a4f0e6c-3a0b-4f5e-9d8e-1f2a3b4c5d6e'


class ConsolesTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        self.conf = self.fake.conf
        self.conf.set_override('run_path', self.useFixture(
            fixtures.TempDir()).path)
        self.conf.set_override('port', 0, 'console')
        self.fake.state.containers['c'] = pb.Container(
            id='c', labels={labels.CONTAINER: UUID},
            state=pb.CONTAINER_RUNNING)
        self.patch(self.fake.state, 'spec', lambda _: any_pb2.Any(
            value=json.dumps({'process': {'terminal': True}}).encode()))

    def start(self):
        client = cri.CriClient(self.conf)
        self.addCleanup(client.close)
        native_ = native.NativeClient(self.conf, client.channel)
        subject = consoles.Consoles(
            self.conf, client, native_, containers.Containers(
                self.conf, client, native_))
        subject.start()
        self.addCleanup(subject.stop)
        return subject

    def test_attach(self):
        streams = self.useFixture(test_channels.StreamingServer(
            [test_channels.message(1, b'hello')]))
        self.fake.state.attach_url = (
            f'http://127.0.0.1:{streams.port}/attach/x')
        made = self.start().attach(UUID, 'p')
        self.assertRegex(made['url'],
                         r'^ws://127\.0\.0\.1:[0-9]+/attach\?token='
                         '[0-9a-f]{64}$')
        connection = websocket.create_connection(made['url'], timeout=10)
        self.addCleanup(connection.shutdown)
        self.assertEqual(b'hello', connection.recv())
        (request,) = [r for name, r in self.fake.state.calls
                      if name == 'Attach']
        self.assertEqual(('c', True, True, True, False), (
            request.container_id, request.stdin, request.tty, request.stdout,
            request.stderr))

    def test_only_of_a_container_that_runs(self):
        subject = self.start()
        self.fake.state.containers['c'].state = pb.CONTAINER_EXITED
        self.assertRaises(exception.Conflict, subject.attach, UUID, 'p')
        self.assertRaises(exception.Conflict, subject.create_exec, UUID, 'p',
                          ['sh'], True)
        other = UUID.replace('5', '6')
        self.assertRaises(exception.NotFound, subject.attach, other, 'p')

    def test_commands_that_are_kept_until_used(self):
        subject = self.start()
        for wrong in ([], ['x' * 70000]):
            self.assertRaises(exception.InvalidInput, subject.create_exec,
                              UUID, 'p', wrong, True)
        made = subject.create_exec(UUID, 'p', ['sh'], True)
        self.assertEqual(('p', UUID), subject.whose(made['exec_id']))
        subject.resize_exec(made['exec_id'], 24, 80)
        subject.resize_exec(made['exec_id'], 0, 0)
        self.assertEqual((24, 80),
                         subject._sessions.find(made['exec_id']).size)
        self.assertEqual([], list(pathlib.Path(
            self.conf.run_path).rglob('*')))

    def test_unknown_id(self):
        subject = self.start()
        token = subject.attach(UUID, 'p')['url'][-64:]
        for wrong in ('0' * 64, token):
            error = self.assertRaises(
                exception.InvalidInput, subject.resize_exec, wrong, 24, 80)
            self.assertNotIn(wrong, str(error))
            self.assertRaises(exception.InvalidInput, subject.whose, wrong)

    def test_a_start_that_fails(self):
        """containerd is here the one that lacks the call."""
        subject = self.start()
        made = subject.create_exec(UUID, 'p', ['sh'], True)
        client = docker.APIClient(base_url=made['url'])
        self.addCleanup(client.close)
        found = client.exec_start(made['exec_id'], socket=True, tty=True)
        found = getattr(found, '_sock', found)
        self.addCleanup(found.close)
        self.assertIn(b'does not serve Exec', served.read(found, 2000))
        self.assertEqual([], list(pathlib.Path(
            self.conf.run_path).glob('console/*')))

    def test_url(self):
        self.conf.set_override('base_url', 'https://node1.test:1/',
                               'console')
        subject = self.start()
        self.assertEqual('https://node1.test:1', subject.create_exec(
            UUID, 'p', ['sh'], True)['url'])
        self.assertTrue(subject.attach(UUID, 'p')['url'].startswith(
            'wss://node1.test:1/attach?token='))

    def test_a_port_that_is_taken(self):
        """The other parts of kata-compute go on."""
        with socket.create_server(('127.0.0.1', 0)) as other:
            self.conf.set_override('port', other.getsockname()[1], 'console')
            subject = self.start()
        error = self.assertRaises(exception.RuntimeFailed, subject.attach,
                                  UUID, 'p')
        self.assertIn('in use', str(error))
        self.assertIn('The console does not listen', self.log.output)

    def test_a_missing_certificate(self):
        self.conf.set_override('cert_file', '/nonexistent', 'console')
        subject = self.start()
        self.assertRaises(exception.RuntimeFailed, subject.attach, UUID, 'p')
        self.assertIn('/nonexistent', self.log.output)

    def test_after_a_restart(self):
        subject = self.start()
        made = subject.create_exec(UUID, 'p', ['sh'], True)
        subject.stop()
        self.assertRaises(exception.RuntimeFailed, subject.create_exec, UUID,
                          'p', ['sh'], True)
        again = self.start()
        self.assertRaises(exception.InvalidInput, again.resize_exec,
                          made['exec_id'], 24, 80)

    def test_damaged_remains(self):
        folder = pathlib.Path(self.conf.run_path, 'console', 'c', 'x')
        folder.mkdir(parents=True)
        self.start().attach(UUID, 'p')
        self.assertFalse(folder.exists())


class ProcessTest(base.TestCase):

    def test_like_the_first_one(self):
        first = {'args': ['a'], 'terminal': False, 'env': ['A=b'],
                 'consoleSize': {}, 'cwd': '/x', 'user': {'uid': 5}}
        session = sessions.Session(sessions.EXEC, 'p', 'c', 'i', True, True,
                                   command=['sh'])
        self.assertEqual(
            {'args': ['sh'], 'terminal': True, 'env': ['A=b', 'TERM=xterm'],
             'cwd': '/x', 'user': {'uid': 5}},
            consoles._process(first, session))
        first['env'] = ['TERM=vt100']
        self.assertEqual(['TERM=vt100'],
                         consoles._process(first, session)['env'])
        session.terminal = False
        self.assertEqual(['A=b'], consoles._process(
            {'env': ['A=b']}, session)['env'])
