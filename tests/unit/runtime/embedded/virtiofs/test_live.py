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

"""The live share is plugged in once, and a failure leaves nothing."""

import asyncio
import socket
import unittest
from unittest import mock

from kata_openstack.runtime.embedded.virtiofs import live
from kata_openstack.runtime.embedded.vm import agent_channel
from kata_openstack.runtime.embedded.vm import launch
from kata_openstack.runtime.embedded.vm import qmp


class Machine:
    live_log = '/no/such/log'
    live_pid = 0

    def __init__(self):
        self.served = 0
        self.error = None

    def serve_live(self):
        if self.error:
            raise self.error
        self.served += 1
        self.live_pid = 4711
        return socket.socket()

    def end_live(self):
        self.live_pid = 0


class TestLiveShare(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.vm = Machine()
        self.agent, self.monitor = mock.AsyncMock(), mock.AsyncMock()
        self.started, self.plugged = [], []

    async def asyncSetUp(self):
        self.live = live.LiveShare(self.vm, self.agent, self.monitor,
                                   self.started.append, self.plugged.append)

    def commands(self):
        return [call.args[0] for call in
                self.monitor.execute.await_args_list]

    async def refused(self, words):
        with self.assertRaisesRegex(agent_channel.AgentError, words) as found:
            await self.live.plug()
        return found.exception

    async def test_once_for_all_containers(self):
        await asyncio.gather(self.live.plug(), self.live.plug())
        await self.live.plug()
        self.assertEqual((1, [4711], [4711]),
                         (self.vm.served, self.started, self.plugged))
        self.monitor.add_socket.assert_awaited_once()
        self.assertEqual(['device_add'], self.commands())
        self.agent.call.assert_awaited_once_with('mount_live', seconds=60)

    async def test_each_failure_names_its_cause_and_leaves_nothing(self):
        refusal = qmp.QmpError('device_add: no bus')
        for place, error, words in (
                ('add_socket', qmp.QmpError('getfd: no'), 'getfd: no'),
                ('execute', refusal, 'device_add: no bus'),
                ('serve', launch.LaunchFailed('/x: not there'), 'not there'),
                ('serve', OSError(24, 'Too many open files'), 'Too many')):
            with self.subTest(words=words):
                if place == 'serve':
                    self.vm.error = error
                else:
                    getattr(self.monitor, place).side_effect = error
                await self.refused(words)
                self.assertEqual((0, 0), (self.vm.live_pid,
                                          self.started[-1]))
                self.assertEqual([], self.plugged)
                self.assertEqual('chardev-remove', self.commands()[-1])
                self.vm.error = None
                self.monitor.add_socket.side_effect = None
                self.monitor.execute.side_effect = None
        await self.live.plug()  # and the next container can have it
        self.assertEqual([4711], self.plugged)

    async def test_qemu_does_not_answer(self):
        async def never(*args, **more):
            if args[0] == 'device_add':
                await asyncio.sleep(1000)
        self.monitor.execute.side_effect = never
        with mock.patch.object(live, '_SECONDS', 0.01):
            await self.refused('did not answer within')
        self.assertEqual(0, self.vm.live_pid)

    async def test_the_guest_refuses(self):
        """The device stays: only the guest could let it go."""
        self.agent.call.side_effect = agent_channel.AgentError('no memory')
        await self.refused('no memory')
        self.assertEqual(4711, self.vm.live_pid)
        self.agent.call.side_effect = None
        await self.live.plug()
        self.assertEqual((1, [4711]), (self.vm.served, self.plugged))

    async def test_a_container_gives_up_and_another_waits(self):
        go = asyncio.Event()

        async def slow(*args, **more):
            await go.wait()
        self.agent.call.side_effect = slow
        one, two = (asyncio.create_task(self.live.plug()) for _ in range(2))
        await asyncio.sleep(0.01)
        one.cancel()
        await asyncio.wait([one])
        go.set()
        await two
        self.assertTrue(one.cancelled())
        self.assertEqual(1, self.vm.served)

    async def test_the_sandbox_stops(self):
        async def never(*args, **more):
            await asyncio.sleep(1000)
        self.monitor.execute.side_effect = never
        waiting = asyncio.create_task(self.live.plug())
        await asyncio.sleep(0.01)
        self.live.close()
        for _ in range(2):
            with self.assertRaises(agent_channel.AgentGone):
                await waiting
            waiting = asyncio.create_task(self.live.plug())
        with self.assertRaises(agent_channel.AgentGone):
            await waiting
        self.assertEqual((0, []), (self.vm.live_pid, self.plugged))
