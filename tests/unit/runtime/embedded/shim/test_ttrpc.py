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
import os
import tempfile
import unittest
from unittest import mock

from kata_openstack.runtime.embedded.shim import events
from kata_openstack.runtime.embedded.shim import messages
from kata_openstack.runtime.embedded.shim import ttrpc


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


class TestPublisher(SocketTestCase):
    def setUp(self):
        super().setUp()
        self.got = []
        patch = mock.patch.object(events, '_RETRY_SECONDS', 0.01)
        patch.start()
        self.addCleanup(patch.stop)

    async def take(self, service, method, payload):
        envelope = messages.FORWARD.decode(payload)['envelope']
        kind, message = messages.EVENTS[envelope['topic']]
        self.assertEqual(kind, envelope['event']['type_url'])
        self.assertEqual('ns', envelope['namespace'])
        self.got.append((envelope['topic'],
                         message.decode(envelope['event']['value'])))
        return b''

    async def test_events_outlive_a_restart_and_keep_their_order(self):
        publisher = events.Publisher('unix://' + self.path, 'ns')
        listening = await self.listen(self.take)
        publisher.publish('/tasks/start', container_id='c', pid=1)
        # until it is confirmed: what is not is sent again
        await asyncio.wait_for(publisher._empty.wait(), 10)
        listening.close()
        self.assertEqual(1, len(self.got))
        publisher._client.close()  # as if the server had ended
        os.unlink(self.path)
        publisher.publish('/tasks/oom', id='c')
        publisher.publish('/tasks/exit', container_id='c', id='c', pid=1,
                          exit_status=137,
                          exited_at={'seconds': 5, 'nanos': 6})
        await asyncio.sleep(0.05)
        listening = await self.listen(self.take)
        await publisher.close(5)
        listening.close()
        self.assertEqual(['/tasks/start', '/tasks/oom', '/tasks/exit'],
                         [topic for topic, _ in self.got])
        self.assertEqual(137, self.got[-1][1]['exit_status'])

    async def test_the_queue_is_bounded(self):
        publisher = events.Publisher(self.path, 'ns')
        for _ in range(3000):
            publisher.publish('/tasks/oom', id='c')
        self.assertEqual(events._MAX_QUEUED, len(publisher._queue))
        with mock.patch.object(events, 'log'):
            await publisher.close(0.01)
