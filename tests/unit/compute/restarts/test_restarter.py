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

import threading
from unittest import mock

from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import view
from kata_openstack.compute.restarts import policy
from kata_openstack.compute.restarts import restarter
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from tests.unit import base
from tests.unit import fake_containerd


class RestartsTestCase(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        self.client = cri.CriClient(self.fake.conf)
        self.addCleanup(self.client.close)

    def container(self, ident, restart, code=1, attempt=0, pod='pod',
                  state=pb.CONTAINER_EXITED, **annotations):
        self.fake.state.sandboxes[pod] = pb.PodSandbox(
            id=pod, labels={labels.POD: pod})
        self.fake.state.containers[ident] = pb.Container(
            id=ident, state=state, pod_sandbox_id=pod,
            metadata=pb.ContainerMetadata(attempt=attempt),
            labels={labels.POD: pod, labels.CONTAINER: ident},
            annotations={labels.RESTART: restart, **annotations})
        self.fake.state.exits[ident] = code


class PolicyTest(RestartsTestCase):

    def test_each_policy(self):
        self.container('a', 'always', code=0)
        self.container('b', 'on-failure', code=0)
        self.container('c', 'on-failure', code=3, attempt=1000)
        self.container('d', 'on-failure:2', attempt=1)
        self.container('e', 'on-failure:2', attempt=2)
        self.container('f', 'no')
        self.container('g', '')
        self.container('h', 'always', state=pb.CONTAINER_RUNNING)
        self.container('i', 'always', state=pb.CONTAINER_CREATED)
        self.container('j', 'always', **{labels.INIT: 'yes'})
        self.assertEqual(['a', 'c', 'd'], sorted(
            status.id for status in policy.wanted(
                self.client, view.read(self.client, 'pod'))))


class RestarterTest(RestartsTestCase):

    def setUp(self):
        super().setUp()
        self.pods = mock.Mock(problems={})
        self.told = []
        self.restarter = restarter.Restarter(self.client, self.pods,
                                             self.told.append)
        self.addCleanup(self.restarter.stop)
        self.pauses = []

        def timer(pause, function, arguments):
            self.pauses.append(pause)
            return mock.Mock(start=lambda: self.pending.append(
                (function, arguments)))
        self.pending = []
        patch = mock.patch.object(threading, 'Timer', timer)
        patch.start()
        self.addCleanup(patch.stop)

    def run_pending(self):
        """Let the timers end, and wait for the restarts."""
        for function, arguments in self.pending[:]:
            self.pending.pop(0)
            function(*arguments)
        for _ in range(restarter._THREADS):  # each thread is free again
            self.restarter._pool.submit(lambda: None).result()
        while self.restarter._timers and not self.pending:
            pass

    def test_the_pauses_grow(self):
        self.container('c', 'always')
        for _ in range(12):
            self.restarter.check('pod')
            self.restarter.check('pod')  # it is pending
            self.run_pending()
        self.assertEqual([0.1, 0.2, 0.4], self.pauses[:3])
        self.assertEqual([51.2, 60.0, 60.0], self.pauses[-3:])
        self.assertEqual(12, self.pods.restart_ended.call_count)
        self.assertEqual(['pod'] * 12, self.told)

    def test_a_long_run_begins_anew(self):
        self.container('c', 'always')
        for _ in range(3):
            self.restarter.check('pod')
            self.run_pending()
        status = pb.ContainerStatus(
            state=pb.CONTAINER_EXITED, started_at=10 ** 9,
            finished_at=12 * 10 ** 9)
        self.client.container_status = lambda ident: mock.Mock(status=status)
        self.restarter.check('pod')
        self.assertEqual(0.1, self.pauses[-1])

    def test_nothing_to_do(self):
        self.container('c', 'no')
        self.restarter.check('pod')
        self.restarter.check('other')
        self.assertEqual([], self.pending)

    def test_a_restart_that_fails_is_repeated(self):
        self.container('c', 'always')
        self.pods.restart_ended.side_effect = exception.NodeFull(
            asked_mib=1, limit_mib=1, used_mib=1)
        self.restarter.check('pod')
        self.run_pending()
        self.assertEqual([0.1, 0.2], self.pauses)
        self.assertIn('other pods have', self.pods.problems['pod'])
        self.pods.restart_ended.side_effect = None
        self.run_pending()
        self.assertEqual({}, self.pods.problems)

    def test_all_pods(self):
        self.container('a', 'always', pod='p1')
        self.container('b', 'no', pod='p2')
        self.restarter._pauses['gone'] = 5.0
        self.restarter.check_all()
        self.assertEqual([('p1', '')], [arguments for _, arguments
                                        in self.pending])
        self.assertNotIn('gone', self.restarter._pauses)

    def test_not_after_the_stop(self):
        self.container('c', 'always')
        self.restarter.check('pod')
        self.restarter.stop()
        self.restarter.check('pod')
        for function, arguments in self.pending:
            function(*arguments)
        self.pods.restart_ended.assert_not_called()

    def test_one_project_has_a_part_of_the_threads(self):
        go_on, begun = threading.Event(), threading.Semaphore(0)

        def hang(pod):
            begun.release()
            go_on.wait(30)
        self.pods.restart_ended.side_effect = hang
        for number in range(restarter._PER_PROJECT + 1):
            self.container(f'a{number}', 'always', pod=f'p{number}')
        self.container('b', 'always', pod='other')
        self.fake.state.sandboxes['other'].labels[labels.PROJECT] = 'b'
        self.restarter.check_all()
        for function, arguments in self.pending[:]:
            self.pending.pop(0)
            function(*arguments)
        for _ in range(restarter._PER_PROJECT + 1):
            self.assertTrue(begun.acquire(timeout=30))
        self.assertEqual(1, len(self.pending))  # it waits for a thread
        self.assertIn(mock.call('other'),
                      self.pods.restart_ended.mock_calls)
        go_on.set()
