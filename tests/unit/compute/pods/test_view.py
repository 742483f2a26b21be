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

"""What others see of a pod whose VM has ended by itself."""

import grpc
from oslo_concurrency import lockutils
from tests.unit.compute.pods import test_lifecycle

from kata_openstack.runtime.containerd.protos import cri_pb2 as pb


class LostTest(test_lifecycle.Case):

    def start(self, *exit_codes):
        """Start a pod whose containers end with these exit codes."""
        pod = self.pod(len(exit_codes))
        self.pods.create(pod)
        self.pods.start(pod)
        for container, code in zip(self.state.containers.values(),
                                   exit_codes, strict=True):
            container.state = pb.CONTAINER_EXITED
            self.state.exits[container.id] = code
        return pod

    def lose(self, *exit_codes):
        pod = self.start(*exit_codes)
        for sandbox in self.state.sandboxes.values():
            sandbox.state = pb.SANDBOX_NOTREADY
        return pod

    def messages(self, pod):
        shown = self.pods.show(pod.uuid)
        self.assertEqual([shown], self.pods.list())
        return [bool(c.message) for c in shown.containers]

    def test_vm_that_ended_by_itself(self):
        pod = self.lose(137)
        self.assertEqual([True], self.messages(pod))
        self.assertIn('virtual machine',
                      self.pods.show(pod.uuid).containers[0].message)

    def test_with_a_shim_of_upstream(self):
        self.assertEqual([True], self.messages(self.lose(255)))

    def test_not_for_what_had_ended_before(self):
        self.assertEqual([False, True, False],
                         self.messages(self.lose(1, 137, 0)))

    def test_not_while_the_vm_runs(self):
        self.assertEqual([False], self.messages(self.start(137)))

    def test_not_after_a_stop(self):
        pod = self.start(137)
        self.pods.stop(pod.uuid, 0)
        self.assertEqual([False], self.messages(pod))

    def test_not_during_a_stop(self):
        pod = self.lose(137)
        with lockutils.lock(f'pod-{pod.uuid}'):
            self.assertEqual([False], self.messages(pod))

    def test_a_state_that_cannot_be_read_costs_no_pod(self):
        pod = self.lose(137)
        for code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.NOT_FOUND):
            self.state.fail = {'PodSandboxStatus': (code, 'injected')}
            self.assertEqual([False], self.messages(pod))
