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

"""Requests that hang do not keep others from being served."""

from concurrent import futures
import contextlib
import threading
import time

import oslo_messaging
from tests.unit import base
from tests.unit.compute import rpc_server

from kata_openstack.compute import lanes
from kata_openstack.compute import manager
from kata_openstack.compute import rpcapi
from kata_openstack import exception
from kata_openstack import objects

UUID = '5a4f0e6c-3a0b-4f5e-9d8e-1f2a3b4c5d6'
STATUS = objects.PodStatus(uuid='u', kind='container', sandbox_id='s',
                           ready=True, handler='h')


class LaneTest(base.TestCase):

    def test_a_full_lane_refuses(self):
        lane = lanes.Lane('pulls', 2)
        with lane.enter(), lane.enter():
            error = self.assertRaises(exception.NodeBusy,
                                      lane.enter().__enter__)
        self.assertIn('pulls in progress: 2 of the node', str(error))
        with lane.enter(), lane.enter():
            pass

    def test_a_project_cannot_fill_a_lane(self):
        for kind in ('pull', 'start', 'stop'):
            lane = lanes.all_lanes()[kind]
            with contextlib.ExitStack() as held:
                for _ in range(64):
                    held.enter_context(lane.enter('p'))
                error = self.assertRaises(exception.NodeBusy,
                                          lane.enter('p').__enter__)
                self.assertIn('64 of your project', str(error))
                held.enter_context(lane.enter('q'))
                for _ in range(63):  # those of no project are the node's own
                    held.enter_context(lane.enter())
                error = self.assertRaises(exception.NodeBusy,
                                          lane.enter('q').__enter__)
                self.assertIn('128 of the node', str(error))
            self.assertEqual((0, 0), (lane._count, len(lane._projects)))

    def test_a_container_or_a_project_cannot_fill_the_lane(self):
        lane = lanes.GuestLane()
        with contextlib.ExitStack() as held:
            for _ in range(16):
                held.enter_context(lane.enter('p', 'c1'))
            error = self.assertRaises(exception.NodeBusy,
                                      lane.enter('p', 'c1').__enter__)
            self.assertIn('16 of container c1', str(error))
            for _ in range(16):
                held.enter_context(lane.enter('p', 'c2'))
            error = self.assertRaises(exception.NodeBusy,
                                      lane.enter('p', 'c3').__enter__)
            self.assertIn('32 of your project', str(error))
            held.enter_context(lane.enter('q', 'c4'))
        self.assertEqual((0, 0, 0), (lane._count, len(lane._projects),
                                     len(lane._containers)))

    def test_calls_about_no_container_share_no_limit(self):
        lane = lanes.GuestLane()
        with contextlib.ExitStack() as held:
            for project in ('p', 'q'):
                for _ in range(32):
                    held.enter_context(lane.enter(project))
            error = self.assertRaises(exception.NodeBusy,
                                      lane.enter('p').__enter__)
            self.assertIn('32 of your project', str(error))
        self.assertEqual((0, 0), (lane._count, len(lane._projects)))


class SlotsTest(base.TestCase):

    def test_others_wait_and_go_on(self):
        slots = lanes.Slots(2)
        entered = threading.Event()

        def late():
            with slots.take('c'):
                entered.set()

        with slots.take('a'), slots.take('b'):
            thread = threading.Thread(target=late)
            thread.start()
            self.assertFalse(entered.wait(0.05))
        self.assertTrue(entered.wait(10))
        thread.join()

    def test_a_project_has_half_of_them(self):
        slots = lanes.Slots(4)
        entered = threading.Event()

        def third():
            with slots.take('a'):
                entered.set()

        with slots.take('a'):
            with slots.take('a'):
                thread = threading.Thread(target=third)
                thread.start()
                self.assertFalse(entered.wait(0.05))
                with slots.take('b'):  # at once
                    pass
                self.assertFalse(entered.is_set())
            self.assertTrue(entered.wait(10))
        thread.join()
        self.assertEqual(0, len(slots._held))

    def test_one_slot_serves_every_project(self):
        slots = lanes.Slots(1)
        with slots.take('a'):
            pass
        with slots.take('b'):
            pass


class Hanging:
    """Stands in for all parts of the node; only show() answers."""

    def __init__(self):
        self.arrived = threading.Semaphore(0)
        self.end = threading.Event()

    def show(self, *_):
        return STATUS

    def __getattr__(self, name):
        def hang(*_, **__):
            self.arrived.release()
            self.end.wait(60)
            return STATUS
        return hang


class ResponsivenessTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.parts = Hanging()
        transport = rpc_server.serve(self, 'fake://', self.parts, lanes.THREADS)
        self.addCleanup(self.parts.end.set)
        self.pool = futures.ThreadPoolExecutor(200)
        self.addCleanup(self.pool.shutdown)
        self.addCleanup(self.parts.end.set)
        self.api = rpcapi.ComputeAPI(transport, timeout=20, long_timeout=60)

    def _hang(self, number, method, *arguments):
        """Send requests that hang, of as many projects as needed."""
        for i in range(number):
            self.pool.submit(
                method, {'project_id': f'p{i // 16}'}, 'n1',
                *(a.format(i // 16) if isinstance(a, str) else a
                  for a in arguments))

    def test_show_while_others_hang(self):
        container = UUID + '{}'
        self._hang(64, self.api.exec_sync, container, ['sleep'])
        self._hang(64, self.api.pull_image, 'image', 'always')
        self._hang(64, self.api.stop_pod, container, 9)
        for _ in range(3 * 64):
            self.assertTrue(self.parts.arrived.acquire(timeout=30))
        times = []
        for _ in range(40):
            begun = time.monotonic()
            self.api.show_pod({}, 'n1', UUID + '0')
            times.append(time.monotonic() - begun)
        self.assertLess(sorted(times)[37], 0.3)  # p95

    def test_full_lanes_leave_the_others_alone(self):
        with contextlib.ExitStack() as held:
            lanes_ = manager.ComputeManager(*[self.parts] * 10)
            for _ in range(128):
                held.enter_context(lanes_._lanes['pull'].enter())
            error = self.assertRaises(
                oslo_messaging.ExpectedException, lanes_.pull_image, {},
                reference='i', policy='always', auth=None)
            self.assertIsInstance(error.exc_info[1], exception.NodeBusy)
            self.assertEqual(STATUS.to_dict(), lanes_.show_pod(
                {}, pod_uuid=UUID + '0'))

    def test_terminals_that_hang_leave_those_of_others_alone(self):
        """zun-compute has no context when it resizes a terminal."""
        self.parts.whose = lambda exec_id: (f'p{exec_id[0]}', f'c{exec_id}')
        node = manager.ComputeManager(*[self.parts] * 10)

        def resize(exec_id):
            return self.pool.submit(
                node.resize_exec, {'project_id': None}, exec_id=exec_id,
                height=24, width=80)

        for command in ('a0', 'a1'):  # all that one project may hold
            for _ in range(16):
                resize(command * 32)
                self.assertTrue(self.parts.arrived.acquire(timeout=30))
            error = resize(command * 32).exception(30)
            self.assertIsInstance(error.exc_info[1], exception.NodeBusy)
        error = resize('a2' * 32).exception(30)
        self.assertIn('32 of your project', str(error.exc_info[1]))
        resize('b0' * 32)
        self.assertTrue(self.parts.arrived.acquire(timeout=30))
