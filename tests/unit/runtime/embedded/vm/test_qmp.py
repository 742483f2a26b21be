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

"""Commands and events of QEMU's monitor, whose other end the test has."""

import asyncio
import json
import os
import socket
import unittest

from kata_openstack.runtime.embedded.vm import qmp

_EVENT = (b'{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", '
          b'"data": {"guest": true, "reason": "guest-panic"}}\n')


class TestQmp(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        ours, self.end = socket.socketpair()
        self.addCleanup(self.end.close)
        self.end.setblocking(False)
        self.monitor = qmp.Qmp(ours)
        self.addAsyncCleanup(self.close)
        self.files = []

    async def close(self):
        self.monitor.close()

    async def read(self):
        """The next command that arrives."""
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while True:
                try:
                    data, files, *_ = socket.recv_fds(self.end, 65536, 4)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0)
        self.files += files
        for number in files:
            self.addCleanup(os.close, number)
        return json.loads(data)

    async def answer(self, before=b'', **answer):
        """Answer the next command."""
        command = await self.read()
        answer.setdefault('return', {})
        self.end.send(before + json.dumps(
            {**answer, 'id': command['id']}).encode() + b'\n')
        return command

    async def ask(self, *steps):
        """Run one command, and answer it."""
        return (await asyncio.gather(self.monitor.execute('stop', at=1),
                                     self.answer(*steps)))

    async def test_a_command_while_events_are_watched(self):
        self.monitor.watch()
        for _ in range(2):
            self.end.send(b'{"event": "RESUME"}\n{"event": "part')
            await asyncio.sleep(0.01)
            result, command = await self.ask(b'ly"}\n{"event": "STOP"}\n')
            self.assertEqual({}, result)
            self.assertEqual(('stop', {'at': 1}),
                             (command['execute'], command['arguments']))
        # and it watches again
        self.end.send(_EVENT)
        await asyncio.sleep(0.01)
        self.assertEqual(b'', self.monitor._buffer)
        self.assertEqual('guest-panic', self.monitor.shutdown_reason())

    async def test_the_reason_of_a_shutdown_during_a_command(self):
        self.monitor.watch()
        await self.ask(_EVENT)
        self.assertEqual('guest-panic', self.monitor.shutdown_reason())

    async def test_the_answer_to_a_command_that_was_given_up(self):
        self.monitor.watch()
        with self.assertRaises(TimeoutError):
            async with asyncio.timeout(0.01):
                await self.monitor.execute('slow')
        slow = await self.read()
        asked = asyncio.create_task(self.monitor.execute('next'))
        self.end.send(json.dumps(
            {'return': 'slow', 'id': slow['id']}).encode() + b'\n')
        await self.answer(**{'return': 'next'})
        self.assertEqual('next', await asked)

    async def test_a_refusal(self):
        self.monitor.watch()
        asked = asyncio.create_task(self.monitor.execute('device_add'))
        command = await self.read()
        self.end.send(json.dumps({'error': {'desc': 'no such port'},
                                  'id': command['id']}).encode() + b'\n')
        with self.assertRaisesRegex(qmp.QmpError, 'device_add: no such port'):
            await asked

    async def test_qemu_ends_during_a_command(self):
        self.monitor.watch()
        asked = asyncio.create_task(self.monitor.execute('device_add'))
        await self.read()
        self.end.send(_EVENT)
        self.end.close()
        with self.assertRaisesRegex(qmp.QmpError, 'QEMU has ended'):
            await asked
        self.assertEqual('guest-panic', self.monitor.shutdown_reason())

    async def test_a_close_during_a_command(self):
        self.monitor.watch()
        asked = asyncio.create_task(self.monitor.execute('device_add'))
        await self.read()
        asked.cancel()
        self.monitor.close()
        await asyncio.wait([asked])
        self.assertTrue(asked.cancelled())

    async def test_a_socket_is_passed(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        adding = asyncio.create_task(self.monitor.add_socket('x', writer))
        self.assertEqual('getfd', (await self.answer())['execute'])
        os.close(writer)
        os.write(self.files[0], b'passed')
        self.assertEqual(b'passed', os.read(reader, 10))
        added = (await self.answer())['arguments']
        await adding
        self.assertEqual('x', added['id'])
        self.assertFalse(added['backend']['data']['server'])
