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

"""The VM of a pod goes when its last container has ended."""

import threading
from unittest import mock

import fixtures
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack.compute.pods import endings
from kata_openstack.compute.pods import labels
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb


class EndingsTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        client = cri.CriClient(self.fake.conf)
        self.addCleanup(client.close)
        self.pods = mock.Mock()
        self.pods.may_have_lost_its_vm.return_value = False
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.pods.endings._PAUSES',
            (0.0, 0.001, 0.001)))
        self.told = []
        self.endings = endings.Endings(client, self.pods, self.told.append)
        self.addCleanup(self.endings.stop)

    def finish(self):
        self.endings._pool.shutdown()
        return [call.args for call in self.pods.free_if_ended.mock_calls]

    def pod(self, name, *states, ready=True):
        state = pb.SANDBOX_READY if ready else pb.SANDBOX_NOTREADY
        self.fake.state.sandboxes[name] = pb.PodSandbox(
            id=name, state=state, labels={labels.POD: name})
        for number, state in enumerate(states):
            ident = f'{name}{number}'
            self.fake.state.containers[ident] = pb.Container(
                id=ident, state=state, pod_sandbox_id=name,
                labels={labels.POD: name, labels.CONTAINER: ident})

    def test_cri_is_asked_again_until_it_knows(self):
        self.pods.free_if_ended.side_effect = [False, True]
        self.endings.container_ended('pod', 'c')
        self.assertEqual([('pod', 'c')] * 2, self.finish())

    def test_an_end_is_told_when_cri_knows_it(self):
        self.pod('pod', pb.CONTAINER_RUNNING)
        seen = []

        def free(*args, **kwargs):
            seen.append(list(self.told))
            self.fake.state.containers['pod0'].state = pb.CONTAINER_EXITED
            return len(seen) == 2
        self.pods.free_if_ended.side_effect = free
        self.endings.container_ended('pod', 'pod0')
        self.finish()
        # before and after the VM is stopped, which takes its time
        self.assertEqual([[], ['pod']], seen)
        self.assertEqual(['pod', 'pod'], self.told)

    def test_an_error_of_who_is_told_keeps_no_vm(self):
        self.pod('pod', pb.CONTAINER_EXITED)
        self.endings._told = mock.Mock(side_effect=ValueError('odd'))
        self.pods.free_if_ended.return_value = True
        self.endings.container_ended('pod', 'pod0')
        self.assertEqual([('pod', 'pod0')], self.finish())

    def test_a_vm_that_may_have_died_gets_a_moment(self):
        self.pod('pod', pb.CONTAINER_EXITED)
        self.pods.may_have_lost_its_vm.return_value = True
        told = []
        patience = []

        def free(pod, container, patient):
            told.append(len(self.told))
            patience.append(patient)
            return not patient
        self.pods.free_if_ended.side_effect = free
        self.endings.container_ended('pod', 'pod0')
        self.finish()
        self.assertEqual([True, True, False], patience)
        self.assertEqual([0, 1, 1], told)  # not before the second look
        self.assertEqual(['pod', 'pod'], self.told)

    def test_not_for_ever(self):
        self.pods.free_if_ended.return_value = False
        self.endings.container_ended('pod', 'c')
        self.assertEqual([('pod', 'c')] * 3, self.finish())

    def test_a_stop_that_hangs_is_queued_once(self):
        self.pod('hangs', pb.CONTAINER_EXITED)
        hung, go_on = threading.Event(), threading.Event()

        def free(*args, **kwargs):
            hung.set()
            return go_on.wait(30)
        self.pods.free_if_ended.side_effect = free
        for _ in range(10):
            self.endings.check_all()
        self.assertTrue(hung.wait(30))
        self.assertEqual(0, self.endings._pool._work_queue.qsize())
        go_on.set()
        self.assertEqual([('hangs', '')], self.finish())
        self.assertEqual(set(), self.endings._queued)

    def test_any_error_is_logged(self):
        for error in (ValueError('odd'), KeyError('strange')):
            log = self.useFixture(fixtures.FakeLogger())
            seen = threading.Event()

            def fail(*args, error=error, seen=seen, **kwargs):
                seen.set()
                raise error
            self.pods.free_if_ended.side_effect = fail
            self.endings._free('pod', 'c')
            self.assertTrue(seen.is_set())
            self.assertIn('The VM of pod pod cannot be freed', log.output)

    def test_what_ended_without_an_event(self):
        self.pod('ended', pb.CONTAINER_EXITED, pb.CONTAINER_EXITED)
        self.pod('half', pb.CONTAINER_EXITED, pb.CONTAINER_RUNNING)
        self.pod('waits', pb.CONTAINER_EXITED, pb.CONTAINER_CREATED)
        self.pod('empty')
        self.pod('stopped', pb.CONTAINER_EXITED, ready=False)
        self.pods.free_if_ended.return_value = True
        self.endings.check_all()
        self.assertEqual([('ended', '')], self.finish())
