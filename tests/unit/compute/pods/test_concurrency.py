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

"""Two requests for one pod at the same time.

The first one is held at a call to containerd. The second one must wait for
its end: each test looks at what is left afterwards, which is something else
if the two run side by side.
"""

import threading

from tests.unit.compute.pods import test_lifecycle

from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

SECONDS = 30  # far longer than needed: a failure must not look like a hang
HEAD_START = 0.5  # for a second request that does not wait


class Request(threading.Thread):

    def __init__(self, function, *args):
        super().__init__()
        self._call = function, args
        self.error = None
        self.start()

    def run(self):
        function, args = self._call
        try:
            function(*args)
        except Exception as e:
            self.error = e


class ConcurrencyTest(test_lifecycle.Case):

    def setUp(self):
        super().setUp()
        self.reached, self.go = threading.Event(), threading.Event()
        self.addCleanup(self.go.set)

    def hold(self, method):
        """Hold the next call of a method until ``self.go`` is set."""
        enter, held = self.state.enter, threading.Lock()

        def wait(called, request, context):
            if called == method and held.acquire(blocking=False):
                self.reached.set()
                self.go.wait(SECONDS)
            enter(called, request, context)

        self.patch(self.state, 'enter', wait)

    def both(self, method, first, second):
        """Send a request while another one is held.

        :param first, second: a method, and its arguments
        :returns: their errors
        """
        self.hold(method)
        one = Request(*first)
        self.assertTrue(self.reached.wait(SECONDS))
        two = Request(*second)
        two.join(HEAD_START)
        self.assertTrue(two.is_alive(), 'the second request did not wait')
        self.go.set()
        for request in (one, two):
            request.join(SECONDS)
            self.assertFalse(request.is_alive())
        return one.error, two.error

    def running(self):
        pod = self.pod()
        self.pods.create(pod)
        self.pods.start(pod)
        return pod

    def stopped(self):
        pod = self.running()
        self.pods.stop(pod.uuid, 0)
        return pod

    def states(self, pod):
        return [c.state for c in self.pods.show(pod.uuid).containers]

    def test_a_copy_ends_for_a_start_and_a_delete(self):
        """A copy of a stopped container holds its pod, and only for them."""
        pod = self.stopped()

        def copy():
            with self.pods.lock(pod.uuid):
                self.reached.set()
                while not self.go.wait(0.01):
                    self.pods.interrupts.check(pod.uuid, pod.uuid)
        for method, arguments in (('start', (pod,)), ('stop', (pod.uuid, 0)),
                                  ('delete', (pod.uuid, False))):
            self.reached.clear()
            self.go.clear()
            copying = Request(copy)
            self.assertTrue(self.reached.wait(SECONDS))
            other = Request(getattr(self.pods, method), *arguments)
            ends = method != 'stop'
            copying.join(SECONDS if ends else HEAD_START)
            self.assertEqual(not ends, copying.is_alive(), method)
            self.go.set()
            for request in (copying, other):
                request.join(SECONDS)
            self.assertEqual((exception.Conflict if ends else type(None),
                              None), (type(copying.error), other.error))
            self.pods.interrupts.check(pod.uuid, pod.uuid)

    def test_create_and_create(self):
        pod = self.pod()
        errors = self.both('RunPodSandbox', (self.pods.create, pod),
                           (self.pods.create, pod))
        self.assertEqual([None, exception.Conflict],
                         [errors[0], type(errors[1])])
        self.assertEqual(1, len(self.state.sandboxes))
        self.assertEqual(1, len(self.state.containers))

    def test_create_and_delete(self):
        pod = self.pod()
        self.assertEqual((None, None), self.both(
            'RunPodSandbox', (self.pods.create, pod),
            (self.pods.delete, pod.uuid, False)))
        self.assert_nothing_left()

    def test_start_and_delete(self):
        pod = self.stopped()
        self.assertEqual((None, None), self.both(
            'RunPodSandbox', (self.pods.start, pod),
            (self.pods.delete, pod.uuid, False)))
        self.assert_nothing_left()

    def test_start_and_start(self):
        pod = self.stopped()
        self.assertEqual((None, None), self.both(
            'CreateContainer', (self.pods.start, pod),
            (self.pods.start, pod)))
        self.assertEqual(['running'], self.states(pod))
        self.assertEqual(1, len(self.state.sandboxes))
        self.assertEqual(1, len(self.state.containers))

    def test_stop_and_start(self):
        pod = self.running()
        self.assertEqual((None, None), self.both(
            'StopPodSandbox', (self.pods.stop, pod.uuid, 0),
            (self.pods.start, pod)))
        self.assertEqual(['running'], self.states(pod))

    def test_start_and_the_release_of_an_ended_vm(self):
        pod = self.running()
        (container,) = self.state.containers.values()
        container.state = pb.CONTAINER_EXITED
        self.hold('CreateContainer')
        starting = Request(self.pods.start, pod)
        self.assertTrue(self.reached.wait(SECONDS))
        # it does not wait: a tenant could make a start very long
        self.assertFalse(self.pods.free_if_ended(pod.uuid))
        self.go.set()
        starting.join(SECONDS)
        self.assertIsNone(starting.error)
        self.assertTrue(self.pods.free_if_ended(pod.uuid))
        self.assertEqual(['running'], self.states(pod))

    def test_pods_do_not_wait_for_each_other(self):
        self.hold('RunPodSandbox')
        first, second = self.pod(), self.pod()
        one = Request(self.pods.create, first)
        self.assertTrue(self.reached.wait(SECONDS))
        self.pods.create(second)
        self.pods.delete(second.uuid, False)
        self.go.set()
        one.join(SECONDS)
        self.assertIsNone(one.error)
        self.assertEqual(['created'], self.states(first))
