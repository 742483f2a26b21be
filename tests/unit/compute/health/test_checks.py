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
import threading

import fixtures
import grpc

from kata_openstack.compute.health import checks
from kata_openstack.compute.health import results
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from tests.unit import base
from tests.unit import fake_containerd

CHECK = {'test': 'works', 'interval': 10, 'timeout': 3, 'retries': 2}


class ChecksTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        self.client = cri.CriClient(self.fake.conf)
        self.addCleanup(self.client.close)
        self.results = results.Results()
        self.told = []
        self.asked = []
        self.codes = {}  # by command
        self.client.exec_sync = self.exec_sync
        self.checks = checks.Checks(
            self.client,
            native.NativeClient(self.fake.conf, self.client.channel),
            self.results, self.told.append)
        self.addCleanup(self.checks.stop)
        self.checks._thread.start = self.checks._thread.join = (
            lambda *_: None)

    def exec_sync(self, container_id, command, timeout):
        self.asked.append((container_id, command, timeout))
        code = self.codes.get(command[-1], 0)
        if isinstance(code, Exception):
            raise code
        return pb.ExecSyncResponse(exit_code=code)

    def container(self, ident, project='p', **values):
        self.fake.state.containers[ident] = pb.Container(
            id=ident, state=pb.CONTAINER_RUNNING,
            labels={labels.CONTAINER: ident, labels.POD: f'pod-{ident}',
                    labels.PROJECT: project},
            annotations={labels.HEALTH: json.dumps(CHECK | values)})

    def look(self, now):
        """Look at a time, and wait for the checks that this begins."""
        self.checks.look(now)
        while any(one.running for one in self.checks._checked.values()):
            threading.Event().wait(0.005)

    def test_the_interval(self):
        self.container('c')
        self.fake.state.containers['none'] = pb.Container(
            id='none', state=pb.CONTAINER_RUNNING)
        self.look(100)
        self.look(109)
        self.assertEqual([], self.asked)
        self.look(110)
        self.assertEqual([('c', ['/bin/sh', '-c', 'works'], 3)], self.asked)
        self.assertEqual('healthy', self.results.words('c'))
        self.assertEqual(['pod-c'], self.told)

    def due(self):
        for one in self.checks._checked.values():
            one.due = 0

    def test_failures(self):
        for failure in (1, exception.RuntimeFailed(operation='ExecSync',
                                                   why='timed out')):
            self.codes['works'] = failure
            self.container('c')
            self.look(1)
            for words in ('health: starting', 'unhealthy, 2 failed'):
                self.due()
                self.look(1)
                self.assertEqual(words, self.results.words('c'))
            self.fake.state.containers['c'].state = pb.CONTAINER_EXITED
            self.look(1)
            self.assertEqual('', self.results.words('c'))
        # started again, in a new container of containerd
        self.codes.clear()
        self.container('d')
        self.look(1)
        self.assertEqual('health: starting', self.results.words('d'))

    def test_a_paused_container_is_not_asked(self):
        self.container('c')
        self.look(1)
        self.fake.state.paused.add('c')
        self.due()
        self.look(1)
        self.assertEqual([], self.asked)
        self.assertEqual('health: starting', self.results.words('c'))

    def test_one_project_has_a_part_of_the_threads(self):
        begun, go_on = threading.Semaphore(0), threading.Event()

        def hang(container_id, command, timeout):
            self.asked.append(container_id)
            begun.release()
            go_on.wait(30)
            return pb.ExecSyncResponse()
        self.client.exec_sync = hang
        for number in range(20):
            self.container(f'a{number}', project='a')
        self.container('b0', project='b')
        self.checks.look(1)
        self.due()
        for _ in range(3):
            self.checks.look(1)
        for _ in range(checks._PER_PROJECT + 1):
            self.assertTrue(begun.acquire(timeout=30))
        self.assertIn('b0', self.asked)
        self.assertEqual(checks._PER_PROJECT + 1, len(self.asked))
        go_on.set()
        self.look(1)
        self.due()
        self.look(1)
        self.assertGreater(len(self.asked), checks._PER_PROJECT + 1)

    def test_an_annotation_of_another_release(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.container('c', interval='soon')
        self.fake.state.containers['d'] = pb.Container(
            id='d', state=pb.CONTAINER_RUNNING,
            annotations={labels.HEALTH: 'no JSON'})
        for _ in range(3):
            self.look(1)
        self.assertEqual(2, log.output.count('Cannot read the health check'))
        self.assertEqual({}, self.checks._checked)

    def test_containerd_that_is_away(self):
        self.fake.state.fail['ListContainers'] = (
            grpc.StatusCode.UNKNOWN, 'away')
        self.assertRaises(exception.KataError, self.checks.look, 1)
