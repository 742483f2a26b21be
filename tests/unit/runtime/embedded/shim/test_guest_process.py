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

"""Processes of the guest, as the shim sees them."""

import os

from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.embedded.shim import guest_process
from kata_openstack.runtime.embedded.vm import agent_channel
from tests.unit.runtime.embedded.shim import test_streams


class TestProcess(test_streams.FifoTestCase):
    async def asyncSetUp(self):
        self.stopped = []
        self.told = []
        self.process = guest_process.Process(
            'c', '', {'terminal': 0, 'stdin': '', 'stdout': self.paths[1],
                      'stderr': self.paths[2]}, self.stopped.append)
        self.addCleanup(self.process.fail, 0)

    def announce(self):
        self.told.append(list(self.stopped))

    async def test_a_short_life_is_announced_in_order(self):
        async def call(ident):
            self.agent.receiver.on_output(protocol.STDOUT, b'x')
            self.agent.receiver.on_exit(7, False)
        await self.process.start(self.agent, call, self.announce)
        await self.process.done.wait()
        self.assertEqual([[]], self.told)
        self.assertEqual([self.process], self.stopped)
        self.assertEqual((guest_process.STOPPED, 7),
                         (self.process.status, self.process.exit_status))

    async def test_only_the_first_exit_counts(self):
        async def call(ident):
            pass
        await self.process.start(self.agent, call, self.announce)
        self.process.on_exit(1, False)
        self.process.on_exit(2, True)
        self.assertEqual([self.process], self.stopped)
        self.assertEqual(1, self.process.exit_status)

    async def test_an_exit_is_final_while_output_drains(self):
        async def call(ident):
            self.process.on_output(protocol.STDOUT, bytes(100_000))
            self.process.on_exit(3, True)
        await self.process.start(self.agent, call, self.announce)
        self.process.on_exit(137, False)
        self.assertFalse(self.process.done.is_set())
        reader = self.open(1, os.O_RDONLY)

        def read():
            try:
                os.read(reader, 65536)
            except BlockingIOError:
                pass
            return self.process.done.is_set()
        await self.turn(read)
        self.assertEqual([self.process], self.stopped)
        self.assertEqual((3, True),
                         (self.process.exit_status, self.process.oom))

    async def test_output_that_comes_before_the_start_is_answered(self):
        reader = self.open(1, os.O_RDONLY)
        left = 300 * 1024

        def read():
            nonlocal left
            try:
                left -= len(os.read(reader, 65536))
            except BlockingIOError:
                pass
            return not left

        async def call(ident):
            for _ in range(left // 1024):
                self.agent.receiver.on_output(protocol.STDOUT, bytes(1024))
            await self.turn(read)
        await self.process.start(self.agent, call, self.announce)
        self.assertEqual(300 * 1024, self.agent.acknowledged())

    async def test_a_start_that_fails(self):
        async def call(ident):
            raise agent_channel.AgentError('no such file')
        with self.assertRaisesRegex(agent_channel.AgentError, 'no such file'):
            await self.process.start(self.agent, call, self.announce)
        self.assertEqual([], self.told)
        self.assertEqual([], self.stopped)
        self.assertEqual(guest_process.STOPPED, self.process.status)
        self.assertTrue(self.process.done.is_set())
