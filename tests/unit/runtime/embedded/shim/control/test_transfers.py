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

import asyncio
import base64
import json
import types
import unittest
from unittest import mock

from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.embedded.shim.control import guest_service
from kata_openstack.runtime.embedded.shim.control import transfers
from kata_openstack.runtime.embedded.shim import guest_process
from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.shim.wire import ttrpc
from kata_openstack.runtime.embedded.vm import agent_channel

GET = {'put': False, 'path': '/x', 'limit': 1 << 20, 'keep_free': 0}
PUT = {**GET, 'put': True}


class Agent:
    """Stands in for agent_channel.Channel; the test is the guest."""

    def __init__(self):
        self.last = 0
        self.receivers = {}
        self.frames = []
        self.killed = []
        self.call = mock.AsyncMock(return_value={})

    def new_id(self):
        self.last += 1
        return self.last

    def receive(self, ident, receiver):
        self.receivers[ident] = receiver

    def forget(self, ident):
        self.receivers.pop(ident, None)

    def send(self, kind, ident, payload=b''):
        self.frames.append((kind, ident, payload))

    def send_call(self, method, **arguments):
        assert method == 'kill'
        self.killed.append(arguments['ident'])

    def acknowledged(self):
        return sum(protocol.COUNT.unpack(payload)[0]
                   for kind, _, payload in self.frames
                   if kind == protocol.ACK)

    def stdin(self):
        return b''.join(payload for kind, _, payload in self.frames
                        if kind == protocol.STDIN)


class TestTransfers(unittest.IsolatedAsyncioTestCase):

    async def asyncSetUp(self):
        self.agent = Agent()
        self.container = sandbox.Container('c', '/bundle', {})
        self.container.first = types.SimpleNamespace(
            status=guest_process.RUNNING)
        self.service = guest_service.GuestService(types.SimpleNamespace(
            agent=self.agent, containers={'c': self.container}, lost=''))
        for name, value in (('_WAIT_SECONDS', 0.05),
                            ('_IDLE_SECONDS', 30.0)):
            patch = mock.patch.object(transfers, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    async def ask(self, method, **arguments):
        return json.loads(await self.service.handle(
            f'{method}Archive', json.dumps(arguments).encode()))

    async def open(self, order=GET):
        number = (await self.ask('Open', container='c', order=order)
                  )['transfer']
        return number, self.agent.receivers[number]

    async def read(self, number):
        answer = await self.ask('Read', transfer=number)
        return {**answer, 'data': base64.b64decode(answer['data'])}

    async def write(self, number, data, last=False):
        return await self.ask('Write', transfer=number, last=last,
                              data=base64.b64encode(data).decode())

    async def refuses(self, code, method, **arguments):
        with self.assertRaises(ttrpc.RpcError) as caught:
            await self.ask(method, **arguments)
        self.assertEqual(code, caught.exception.code)

    async def test_out_of_the_guest(self):
        number, guest = await self.open()
        self.assertEqual(('archive', {'ident': number, 'container': 'c',
                                      'order': GET}),
                         (self.agent.call.await_args.args[0],
                          self.agent.call.await_args.kwargs))
        self.assertEqual({'data': b'', 'end': False},
                         await self.read(number))
        guest.on_output(protocol.STDOUT, b'first')
        # the guest may send on only when kata-compute has taken it
        self.assertEqual(0, self.agent.acknowledged())
        self.assertEqual({'data': b'first', 'end': False},
                         await self.read(number))
        self.assertEqual(5, self.agent.acknowledged())
        guest.on_output(protocol.STDOUT, b'last')
        guest.on_output(protocol.STDERR, b'{"stat": {"name": "x"}}')
        guest.on_exit(0, False)
        self.assertEqual({'data': b'last', 'end': True,
                          'outcome': {'stat': {'name': 'x'}}},
                         await self.read(number))
        await self.ask('Close', transfer=number)
        self.assertEqual(([], {}), (self.agent.killed, self.agent.receivers))

    async def test_a_part_is_not_larger_than_agreed(self):
        number, guest = await self.open({**GET, 'limit': 1 << 30})

        async def feed():
            for _ in range(30):
                guest.on_output(protocol.STDOUT, bytes(128 * 1024))
                while guest._received:  # as its window says
                    await asyncio.sleep(0)
        feeding = asyncio.create_task(feed())
        size = len((await self.read(number))['data'])
        feeding.cancel()
        self.assertGreaterEqual(size, transfers.PART)
        self.assertLess(size, transfers.PART + 512 * 1024)

    async def test_into_the_guest(self):
        number, guest = await self.open(PUT)
        data = bytes(range(256)) * 4096
        answer = await self.write(number, data)
        # it does not read: no more than its window is on the way
        self.assertEqual({'taken': protocol.WINDOW, 'ended': False}, answer)
        guest.on_consumed(protocol.WINDOW)
        answer = await self.write(number, data[protocol.WINDOW:
                                               protocol.WINDOW + 100], True)
        self.assertEqual({'taken': 100, 'ended': False}, answer)
        self.assertEqual(data[:protocol.WINDOW + 100], self.agent.stdin())
        self.assertEqual(protocol.STDIN_EOF, self.agent.frames[-1][0])
        guest.on_exit(0, False)
        self.assertEqual({'taken': 0, 'ended': True},
                         await self.write(number, b'more'))
        self.assertEqual({'data': b'', 'end': True, 'outcome': {}},
                         await self.read(number))

    async def test_a_guest_that_reads_on(self):
        number, guest = await self.open(PUT)
        real = self.agent.send

        def send(kind, ident, payload=b''):
            real(kind, ident, payload)
            if kind == protocol.STDIN:
                asyncio.get_running_loop().call_soon(
                    guest.on_consumed, len(payload))
        self.agent.send = send
        answer = await self.write(number, bytes(transfers.PART), True)
        self.assertEqual(transfers.PART, answer['taken'])

    async def test_a_guest_that_lies(self):
        too_much = bytes(protocol.MAX_FROM_GUEST)
        for order, kind, data in (
                (GET, protocol.STDOUT, too_much),  # beyond its window
                ({**GET, 'limit': 9}, protocol.STDOUT, b'0123456789'),
                (PUT, protocol.STDOUT, b'x'), (GET, protocol.STDERR,
                                               too_much)):
            number, guest = await self.open(order)
            with self.assertRaises(protocol.ProtocolError):
                for _ in range(20):
                    guest.on_output(kind, data)
            await self.ask('Close', transfer=number)
        for told in (b'no JSON', b'[' * 5000, b'"text"', b'\xff'):
            number, guest = await self.open()
            guest.on_output(protocol.STDERR, told)
            guest.on_exit(77, True)
            self.assertTrue((await self.read(number))['end'])
            await self.ask('Close', transfer=number)
        number, guest = await self.open(PUT)
        guest.on_consumed(1 << 31)  # more than it got
        self.assertEqual(
            protocol.WINDOW,
            (await self.write(number, bytes(transfers.PART)))['taken'])

    async def test_abandoned(self):
        with mock.patch.object(transfers, '_IDLE_SECONDS', 0.02):
            number, guest = await self.open()
            await asyncio.sleep(0.2)
        self.assertEqual([number], self.agent.killed)
        self.assertEqual({}, self.agent.receivers)
        await self.refuses(ttrpc.FAILED_PRECONDITION, 'Read',
                           transfer=number)
        await self.ask('Close', transfer=number)

    async def test_closed_early(self):
        number, _ = await self.open()
        await self.ask('Close', transfer=number)
        self.assertEqual([number], self.agent.killed)

    async def test_limits_and_refusals(self):
        numbers = [(await self.open())[0] for _ in range(transfers.MOST)]
        await self.refuses(ttrpc.FAILED_PRECONDITION, 'Open', container='c',
                           order=GET)
        await self.ask('Close', transfer=numbers[0])
        await self.open()
        await self.refuses(ttrpc.NOT_FOUND, 'Open', container='other',
                           order=GET)
        await self.refuses(ttrpc.INVALID_ARGUMENT, 'Write',
                           transfer=numbers[1], data='A', last=True)
        await self.ask('Close', transfer=numbers[1])
        await self.refuses(ttrpc.INVALID_ARGUMENT, 'Open', container='c',
                           order={})
        for error, code in (
                (agent_channel.AgentGone('gone'), ttrpc.UNAVAILABLE),
                (agent_channel.AgentError('refused'), ttrpc.UNKNOWN)):
            self.agent.call.side_effect = error
            before = dict(self.agent.receivers)
            await self.refuses(code, 'Open', container='c', order=GET)
            self.assertEqual(before, self.agent.receivers)
