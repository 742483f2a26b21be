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

"""Standard streams: FIFOs, windows, and the order of the last output."""

import asyncio
import os
import sys
import tempfile
import unittest

from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.embedded.shim import streams


class Agent:
    """Records messages to the guest."""

    def __init__(self):
        self.sent = []
        self.last = 0

    def send(self, kind, ident, payload=b''):
        self.sent.append((kind, payload))

    def new_id(self):
        self.last += 1
        return self.last

    def receive(self, ident, receiver):
        self.receiver = receiver

    def forget(self, ident):
        self.receiver = None

    def acknowledged(self):
        return sum(protocol.COUNT.unpack(payload)[0]
                   for kind, payload in self.sent if kind == protocol.ACK)

    def input(self):
        return b''.join(payload for kind, payload in self.sent
                        if kind == protocol.STDIN)


class FifoTestCase(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.paths = tuple(f'{folder.name}/{name}'
                           for name in ('in', 'out', 'err'))
        for path in self.paths:
            os.mkfifo(path)
        self.agent = Agent()

    def open(self, number, flags):
        fd = os.open(self.paths[number], flags | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        return fd

    async def turn(self, condition):
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.001)
        self.fail('it never happened')


class TestStreams(FifoTestCase):
    def setUp(self):
        super().setUp()
        self.finished = []

    async def asyncSetUp(self):
        self.streams = streams.Streams(self.paths)
        self.addCleanup(self.streams.close)

    async def test_input_waits_for_a_writer_and_ends_with_it(self):
        self.streams.attach(self.agent, 3)
        self.streams.connect()
        await asyncio.sleep(0.02)
        self.assertEqual([], self.agent.sent)
        writer = os.open(self.paths[0], os.O_WRONLY)
        os.write(writer, b'words')
        await self.turn(lambda: self.agent.sent)
        os.close(writer)
        await self.turn(lambda: len(self.agent.sent) == 2)
        self.assertEqual([(protocol.STDIN, b'words'),
                          (protocol.STDIN_EOF, b'')], self.agent.sent)

    async def test_input_stops_at_the_window(self):
        self.streams.attach(self.agent, 3)
        self.streams.connect()
        writer = self.open(0, os.O_WRONLY)
        data = os.urandom(2 * protocol.WINDOW)
        written = 0

        def push():
            nonlocal written
            try:
                written += os.write(writer, data[written:])
            except BlockingIOError:
                pass
            return len(self.agent.input()) >= protocol.WINDOW
        await self.turn(push)
        await asyncio.sleep(0.02)
        window = len(self.agent.input())
        self.assertLess(window, protocol.WINDOW + protocol.CHUNK)
        self.streams.consumed(window)
        await self.turn(lambda: push() and len(self.agent.input()) > window)
        self.assertTrue(data.startswith(self.agent.input()))

    async def test_close_stdin_passes_on_what_is_there(self):
        writer = self.open(0, os.O_WRONLY)
        os.write(writer, b'last words')
        self.streams.close_stdin()
        self.streams.attach(self.agent, 3)
        self.streams.connect()
        await self.turn(lambda: len(self.agent.sent) == 2)
        self.assertEqual(b'last words', self.agent.input())
        self.assertEqual((protocol.STDIN_EOF, b''), self.agent.sent[-1])

    async def test_output_is_acknowledged_when_it_is_delivered(self):
        reader = self.open(1, os.O_RDONLY)
        self.streams.attach(self.agent, 3)
        self.streams.connect()
        chunk = os.urandom(protocol.CHUNK)
        for _ in range(4):  # a FIFO holds two of them
            self.streams.output(protocol.STDOUT, chunk)
        self.assertLess(self.agent.acknowledged(), 4 * len(chunk))
        got = b''

        def read():
            nonlocal got
            try:
                got += os.read(reader, 65536)
            except BlockingIOError:
                pass
            return len(got) == 4 * len(chunk)
        await self.turn(read)
        self.assertEqual(4 * chunk, got)
        self.assertEqual(len(got), self.agent.acknowledged())

    async def test_a_guest_that_ignores_the_window(self):
        self.streams.attach(self.agent, 3)
        self.streams.connect()
        with self.assertRaises(protocol.ProtocolError):
            for _ in range(1000):
                self.streams.output(protocol.STDERR, bytes(protocol.CHUNK))

    async def test_frames_of_no_size_leave_nothing_behind(self):
        self.streams.attach(self.agent, 3)
        self.streams.output(protocol.STDOUT, bytes(100_000))
        for data in (b'', b'x'):
            before = sys.getsizeof(self.streams._queues[protocol.STDOUT])
            for _ in range(50_000):
                self.streams.output(protocol.STDOUT, data)
            after = sys.getsizeof(self.streams._queues[protocol.STDOUT])
            self.assertLessEqual(after - before, 100_000 * len(data))
        self.assertEqual(1, len(self.agent.sent))

    async def test_no_input_before_the_process_is_there(self):
        os.write(self.open(0, os.O_WRONLY), b'words')
        self.streams.attach(self.agent, 3)
        self.streams.consumed(0)
        await asyncio.sleep(0.02)
        self.assertEqual([], self.agent.sent)
        self.streams.connect()
        await self.turn(lambda: self.agent.input() == b'words')

    async def test_output_that_nobody_wants(self):
        self.streams.close()
        quiet = streams.Streams(('', '', ''))
        quiet.attach(self.agent, 3)
        quiet.output(protocol.STDOUT, b'12345')
        self.assertEqual(5, self.agent.acknowledged())

    async def test_the_end_comes_after_the_last_output(self):
        self.streams.attach(self.agent, 3)
        self.streams.connect()
        data = bytes(100_000)  # more than the FIFO holds
        self.streams.output(protocol.STDOUT, data)
        self.streams.finish(lambda: self.finished.append(True))
        await asyncio.sleep(0.01)
        self.assertEqual([], self.finished)
        reader = self.open(1, os.O_RDONLY)
        left = len(data)
        while left:
            try:
                got = len(os.read(reader, 65536))
            except BlockingIOError:
                await asyncio.sleep(0)
                continue
            self.assertGreater(got, 0)
            left -= got
        await self.turn(lambda: self.finished)
        self.assertEqual(b'', os.read(reader, 10))
