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

"""The agent channel, with hostile guests."""

import asyncio
import json
import os
import socket
import tempfile
import threading
import unittest

from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.embedded.vm import agent_channel
from kata_openstack.runtime.embedded.vm import qmp


class Receiver:
    def __init__(self):
        self.output = b''
        self.consumed = 0
        self.exits = []

    def on_output(self, kind, data):
        self.output += data

    def on_consumed(self, count):
        self.consumed += count

    def on_exit(self, code, oom):
        self.exits.append((code, oom))


class TestChannel(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        ours, self.guest = socket.socketpair()
        self.guest.setblocking(False)
        self.gone = []
        self.oom = []
        self.channel = agent_channel.Channel(ours, self.gone.append,
                                       self.oom.append)
        self.receiver = Receiver()
        self.channel.receive(5, self.receiver)

    async def asyncTearDown(self):
        self.channel.close('end of test')
        self.guest.close()

    async def say(self, *frames):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.guest, b''.join(frames))
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)

    async def answer(self, payload):
        """Answer one call and return its request."""
        loop = asyncio.get_running_loop()
        data = await loop.sock_recv(self.guest, 65536)
        _, _, ident = protocol.HEAD.unpack_from(data)
        await self.say(protocol.frame(protocol.REPLY, ident, payload))
        return json.loads(data[protocol.HEAD.size:])

    async def test_a_call_and_its_answer(self):
        call = asyncio.create_task(self.channel.call('ping', x=1))
        self.assertEqual({'do': 'ping', 'x': 1},
                         await self.answer(b'{"kernel": "6"}'))
        self.assertEqual({'kernel': '6'}, await call)

    async def test_arguments_that_are_too_long_are_not_sent(self):
        with self.assertRaisesRegex(agent_channel.AgentError,
                                    'use shorter environment variables'):
            await self.channel.call(
                'run', seconds=5, config='x' * protocol.MAX_FROM_HOST)
        self.assertRaises(BlockingIOError, self.guest.recv, 1)
        self.assertEqual([], self.gone)  # the VM goes on

    async def test_an_error_is_made_printable_and_short(self):
        call = asyncio.create_task(self.channel.call('run'))
        await self.answer(json.dumps(
            {'error': 'bad\n\x1b[31m' + 'x' * 9000}).encode())
        with self.assertRaises(agent_channel.AgentError) as caught:
            await call
        text = str(caught.exception)
        self.assertTrue(text.startswith('bad'))
        self.assertTrue(text.isprintable())
        self.assertLess(len(text), 2001)

    async def test_no_answer_in_time(self):
        with self.assertRaisesRegex(agent_channel.AgentGone, 'ping.*0.01 s'):
            await self.channel.call('ping', seconds=0.01)
        # a late answer is ignored
        await self.say(protocol.frame(protocol.REPLY, 1, b'{}'))
        self.assertEqual([], self.gone)

    async def test_streams(self):
        await self.say(
            protocol.frame(protocol.STDOUT, 5, b'a'),
            protocol.frame(protocol.STDERR, 5, b'b'),
            protocol.frame(protocol.STDOUT, 99, b'unknown'),
            protocol.frame(protocol.ACK, 5, protocol.COUNT.pack(7)),
            protocol.frame(protocol.EXIT, 5, protocol.STATUS.pack(3, 1)),
            protocol.frame(protocol.EXIT, 5, protocol.STATUS.pack(4, 0)),
            protocol.frame(protocol.OOM, 0, b'../\xff'))
        self.assertEqual(b'ab', self.receiver.output)
        self.assertEqual(7, self.receiver.consumed)
        self.assertEqual([(3, True)], self.receiver.exits)
        self.assertEqual(['../\N{REPLACEMENT CHARACTER}'], self.oom)

    async def test_nonsense_ends_the_connection(self):
        call = asyncio.create_task(self.channel.call('ping'))
        await asyncio.sleep(0)
        await self.say(protocol.HEAD.pack(0xFFFFFFFF, 1, 1))
        with self.assertRaisesRegex(agent_channel.AgentError,
                                    'violates the protocol'):
            await call
        self.assertEqual(1, len(self.gone))
        self.assertEqual([(137, False)], self.receiver.exits)
        with self.assertRaises(agent_channel.AgentGone):
            await self.channel.call('ping')

    async def test_hostile_json(self):
        for payload in (b'[' * 60000, b'{', b'\xff\xfe', b'1' * 10000):
            with self.subTest(payload=payload[:9]):
                await self.asyncTearDown()
                await self.asyncSetUp()
                call = asyncio.create_task(self.channel.call('ping'))
                await self.answer(payload)
                with self.assertRaises(agent_channel.AgentError):
                    await asyncio.wait_for(call, 5)

    async def test_short_frames_of_known_types(self):
        for kind in (protocol.ACK, protocol.EXIT, protocol.READY,
                     protocol.OOM, protocol.CALL, 0, 255):
            await self.say(protocol.frame(kind, 5, b'x'))
        self.assertEqual([], self.gone)
        self.assertEqual([], self.receiver.exits)

    async def test_the_vm_ends(self):
        self.guest.close()
        await asyncio.sleep(0.01)
        self.assertEqual(['QEMU has ended'], self.gone)
        self.assertEqual([(137, False)], self.receiver.exits)
        with self.assertRaises(agent_channel.AgentGone):
            await self.channel.ready

    async def test_a_guest_that_does_not_read(self):
        for _ in range(40):
            self.channel.send(protocol.STDIN, 5, bytes(1024 * 1024))
        self.assertEqual(['the guest agent does not read its input'],
                         self.gone)


class TestLastWords(unittest.TestCase):
    def test_the_end_of_a_long_log(self):
        with tempfile.NamedTemporaryFile() as log:
            self.assertEqual('', agent_channel.last_words(log.name))
            log.write(b'first ' + b'x' * 10_000_000 + b'\xff\x1b[2J last\n')
            log.flush()
            text = agent_channel.last_words(log.name)
        self.assertTrue(text.endswith('last'))
        self.assertLessEqual(len(text), 2000)
        self.assertTrue(text.isprintable())
        self.assertEqual('', agent_channel.last_words('/no/such/log'))


class TestQmp(unittest.IsolatedAsyncioTestCase):
    async def talk(self, *answers, version=(7, 2)):
        """Serve a monitor that gives one answer for each command."""
        ours, theirs = socket.socketpair()
        greeting = {'QMP': {'version': {'qemu': {
            'major': version[0], 'minor': version[1], 'micro': 0}}}}
        self.asked = []

        def serve():
            with theirs:
                theirs.sendall(json.dumps(greeting).encode() + b'\n')
                for answer in (b'{"return": {}}', *answers):
                    asked, fds, _, _ = socket.recv_fds(theirs, 65536, 1)
                    if not asked:
                        return
                    self.asked.append((asked, len(fds)))
                    for fd in fds:
                        os.close(fd)
                    theirs.sendall(answer + b'\n')
        thread = threading.Thread(target=serve)
        thread.start()
        monitor = qmp.Qmp(ours)
        self.addCleanup(thread.join)
        self.addCleanup(monitor.close)
        await monitor.open()
        return monitor

    async def test_events_are_passed_over(self):
        monitor = await self.talk(
            b'{"event": "STOP"}\n{"return": {"status": "paused"}}')
        self.assertEqual({'status': 'paused'},
                         await monitor.execute('query-status'))

    async def test_errors(self):
        for answer, words in ((b'{"error": {"desc": "no such"}}', 'no such'),
                              (b'[1]', 'not send a JSON object'),
                              (b'{', 'invalid JSON')):
            with self.subTest(answer=answer):
                monitor = await self.talk(answer)
                with self.assertRaisesRegex(qmp.QmpError, words):
                    await monitor.execute('device_add', id='x')

    async def test_what_nobody_asked_for_is_read_and_forgotten(self):
        ours, theirs = socket.socketpair()
        monitor = qmp.Qmp(ours)
        self.addCleanup(monitor.close)
        monitor.watch()
        with theirs:
            theirs.settimeout(30)
            event = b'{"event": "RTC_CHANGE", "data": {"offset": 1}}\n' * 9999
            await asyncio.to_thread(theirs.sendall, event)
            self.assertEqual('', monitor.shutdown_reason())
            await asyncio.to_thread(theirs.sendall, b'x' * 4 * 1024 * 1024)
            self.assertLessEqual(len(monitor._buffer), qmp._MAX_LINE)
        async with asyncio.timeout(30):
            while monitor._watched:
                await asyncio.sleep(0.001)

    async def test_the_reason_of_a_shutdown(self):
        for line, reason in (
                (b'{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", '
                 b'"data": {"guest": true, "reason": "guest-reset"}}',
                 'guest-reset'),
                (b'{"data": {"reason": "guest-panic"}, '
                 b'"event": "SHUTDOWN"}', 'guest-panic'),
                (b'{"event": "RESET", "data": {"reason": "guest-reset"}}',
                 ''),
                (b'{"event": "SHUTDOWN", "data": {"reason": "<b>"}}', '')):
            with self.subTest(line=line):
                ours, theirs = socket.socketpair()
                monitor = qmp.Qmp(ours)
                self.addCleanup(monitor.close)
                monitor.watch()
                with theirs:
                    theirs.sendall(line + b'\n')
                    self.assertEqual(reason, monitor.shutdown_reason())

    async def test_a_file_is_passed_without_a_warning(self):
        with open('/dev/null') as file:
            for version, uri, command in (
                    ((7, 2), 'fd:state', b'getfd'),
                    ((9, 0), 'fd:state', b'getfd'),
                    ((9, 1), 'file:/dev/fdset/0', b'add-fd'),
                    ((10, 0), 'file:/dev/fdset/0', b'add-fd')):
                monitor = await self.talk(b'{"return": {}}', version=version)
                self.assertEqual(uri, await monitor.pass_file(file.fileno()))
                asked, fds = self.asked[-1]
                self.assertIn(command, asked)
                self.assertEqual(1, fds)

    async def test_a_greeting_without_a_version(self):
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(b'{"QMP": {}}\n')
            monitor = qmp.Qmp(ours)
            self.addCleanup(monitor.close)
            with self.assertRaisesRegex(qmp.QmpError, 'its version'):
                await monitor.open()

    async def test_qemu_ends(self):
        monitor = await self.talk()
        with self.assertRaises(qmp.QmpError):
            await monitor.execute('cont')
