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

"""ttrpc and the event publisher, over real sockets."""

import asyncio
import tempfile
import unittest
from unittest import mock

from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import ttrpc


class SocketTestCase(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = f'{folder.name}/s'

    async def listen(self, handler):
        self.server = ttrpc.Server(handler)
        return await asyncio.start_unix_server(self.server.serve, self.path)


class TestTtrpc(SocketTestCase):
    async def call(self, handler, payload=b'x'):
        listening = await self.listen(handler)
        client = ttrpc.Client(self.path)
        try:
            return [await client.call('service', 'Method', payload, [])
                    for _ in range(2)]
        finally:
            client.close()
            listening.close()
            await self.server.finish(1)

    async def test_calls(self):
        async def handler(service, method, payload):
            return f'{service}.{method}'.encode() + payload
        self.assertEqual([b'service.Methodx'] * 2, await self.call(handler))

    async def test_an_error_has_code_and_words(self):
        async def handler(service, method, payload):
            raise ttrpc.RpcError(ttrpc.NOT_FOUND, 'no container')
        with self.assertRaisesRegex(ttrpc.RpcError, 'no container') as e:
            await self.call(handler)
        self.assertEqual(ttrpc.NOT_FOUND, e.exception.code)

    async def test_a_mistake_of_ours_is_an_answer(self):
        async def handler(service, method, payload):
            raise ValueError('oh')
        with mock.patch.object(ttrpc, 'log'):
            with self.assertRaisesRegex(ttrpc.RpcError, 'ValueError: oh'):
                await self.call(handler)

    async def test_an_answer_to_another_request(self):
        """As after a time-out, which leaves the late answer unread."""
        async def serve(reader, writer):
            head = await reader.readexactly(10)
            await reader.readexactly(int.from_bytes(head[:4], 'big'))
            body = messages.RESPONSE.encode({'payload': b'other'})
            writer.write(ttrpc._HEAD.pack(len(body), 99, 2, 0) + body)
            await reader.read()  # until the client closes
            writer.close()
        listening = await asyncio.start_unix_server(serve, self.path)
        client = ttrpc.Client(self.path)
        async with asyncio.timeout(10):
            with self.assertRaisesRegex(ConnectionError, '99, not 1'):
                await client.call('service', 'Method', b'x', [])
        self.assertIsNone(client._streams)
        listening.close()

    async def test_one_request_does_not_hold_up_another(self):
        gate = asyncio.Event()

        async def handler(service, method, payload):
            if payload == b'wait':
                await gate.wait()
            return payload
        listening = await self.listen(handler)
        reader, writer = await asyncio.open_unix_connection(self.path)
        for stream, payload in ((1, b'wait'), (3, b'go')):
            body = messages.REQUEST.encode({'method': 'M',
                                            'payload': payload})
            writer.write(len(body).to_bytes(4, 'big')
                         + stream.to_bytes(4, 'big') + b'\1\0' + body)
        heads = []
        for _ in range(2):
            head = await asyncio.wait_for(reader.readexactly(10), 5)
            await reader.readexactly(int.from_bytes(head[:4], 'big'))
            heads.append(int.from_bytes(head[4:8], 'big'))
            gate.set()
        self.assertEqual([3, 1], heads)
        writer.close()
        listening.close()

    async def test_a_message_that_is_too_long(self):
        async def handler(service, method, payload):
            return b''
        listening = await self.listen(handler)
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(b'\xff\xff\xff\xff' + bytes(6))
        self.assertEqual(b'', await asyncio.wait_for(reader.read(), 5))
        writer.close()
        listening.close()
