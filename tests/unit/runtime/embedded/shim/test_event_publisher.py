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

"""Events for containerd."""

import asyncio
import os
from unittest import mock

from kata_openstack.runtime.embedded.shim import event_publisher
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import protobuf
from tests.unit.runtime.embedded.shim.wire import test_ttrpc


class TestPublisher(test_ttrpc.SocketTestCase):
    def setUp(self):
        super().setUp()
        self.got = []
        patch = mock.patch.object(event_publisher, '_RETRY_SECONDS', 0.01)
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
        publisher = event_publisher.Publisher('unix://' + self.path, 'ns')
        listening = await self.listen(self.take)
        publisher.publish('/tasks/start', container_id='c', pid=1)
        # wait for the confirmation: unconfirmed events are sent again
        await asyncio.wait_for(publisher._empty.wait(), 10)
        listening.close()
        self.assertEqual(1, len(self.got))
        publisher._client.close()  # as when the server exits
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

    async def test_an_answer_that_cannot_be_read(self):
        with (mock.patch.object(event_publisher, 'log') as log,
              mock.patch.object(messages, 'RESPONSE') as response):
            response.decode.side_effect = [
                protobuf.DecodeError('truncated'),
                {'status': None, 'payload': b''}]
            response.encode.return_value = b''
            listening = await self.listen(self.take)
            publisher = event_publisher.Publisher(self.path, 'ns')
            publisher.publish('/tasks/oom', id='c')
            publisher.publish('/tasks/oom', id='d')
            await publisher.close(5)
        listening.close()
        self.assertEqual(['c', 'd'], [event['id'] for _, event in self.got])
        log.error.assert_called_once_with(
            'the answer to event /tasks/oom is damaged: truncated')

    async def test_settled_means_delivered(self):
        publisher = event_publisher.Publisher(self.path, 'ns')
        publisher.publish('/tasks/oom', id='c')
        await publisher.settle(0.01)  # nothing listens
        self.assertEqual([], self.got)
        listening = await self.listen(self.take)
        await publisher.settle(30)
        self.assertEqual(['/tasks/oom'], [topic for topic, _ in self.got])
        await publisher.close(5)
        listening.close()

    async def test_the_queue_is_bounded(self):
        publisher = event_publisher.Publisher(self.path, 'ns')
        for _ in range(3000):
            publisher.publish('/tasks/oom', id='c')
        self.assertEqual(event_publisher._MAX_QUEUED, len(publisher._queue))
        with mock.patch.object(event_publisher, 'log'):
            await publisher.close(0.01)
