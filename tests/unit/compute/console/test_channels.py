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
import threading

import fixtures
from tests.unit import base
import wsproto
from wsproto import events

from kata_openstack.compute.console import channels
from kata_openstack import exception


class StreamingServer(fixtures.Fixture):
    """Plays containerd's: sends ``said``, keeps ``heard``.

    ``protocol``: the subprotocol that it accepts
    """

    def __init__(self, said, protocol='v4.channel.k8s.io', answer=b''):
        super().__init__()
        self.said = said
        self.protocol = protocol
        self.answer = answer
        self.heard = []
        self.target = None

    def _setUp(self):
        ready = threading.Event()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._run(ready)))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(
            lambda: self.loop.call_soon_threadsafe(self.stopping.set))
        ready.wait(10)

    async def _run(self, ready):
        self.loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        server = await asyncio.start_server(self._serve, '127.0.0.1', 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self.stopping.wait()
        server.close()

    async def _serve(self, reader, writer):
        if self.answer:
            writer.write(self.answer)
            await writer.drain()
            writer.close()
            return
        peer = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        while data := await reader.read(65536):
            peer.receive_data(data)
            for event in peer.events():
                if isinstance(event, events.Request):
                    self.target = event.target
                    # as one segment, which must not be lost
                    writer.write(peer.send(events.AcceptConnection(
                        subprotocol=self.protocol)) + b''.join(
                            peer.send(message) for message in self.said))
                elif isinstance(event, events.Message):
                    self.heard.append((bytes(event.data),
                                       event.message_finished))
                elif isinstance(event, events.CloseConnection):
                    self.heard.append('closed')
                    writer.write(peer.send(event.response()))
                    writer.close()
                    return


def message(channel, data, **kwargs):
    return events.BytesMessage(bytes([channel]) + data, **kwargs)


class AttachedTest(base.TestCase):

    def connect(self, server, use):
        async def run():
            subject = await channels.Attached.connect(
                f'http://127.0.0.1:{server.port}/attach/secret')
            try:
                return await use(subject)
            finally:
                await subject.close()
        return asyncio.run(asyncio.wait_for(run(), 20))

    def test_output_of_both_streams(self):
        server = self.useFixture(StreamingServer([
            message(1, b''), message(2, b''), message(3, b''),
            message(1, b'out'), message(2, b'err'),
            message(1, b'a', message_finished=False),
            events.BytesMessage(b'b'),
            events.Ping(), message(9, b'unknown'),
            message(3, b'{"status":"Success"}'),
            events.CloseConnection(1000)]))

        async def use(subject):
            found = []
            while data := await subject.receive():
                found.append(data)
            return found
        self.assertEqual([b'out', b'err', b'a', b'b'],
                         self.connect(server, use))
        self.assertEqual('/attach/secret', server.target)

    def test_input(self):
        server = self.useFixture(StreamingServer([message(1, b'x')]))

        async def use(subject):
            await subject.send(b'ls\n')
            await subject.send(b'y' * 16000)
            return await subject.receive()
        self.assertEqual(b'x', self.connect(server, use))
        self.assertEqual((b'\0ls\n', True), server.heard[0])
        self.assertEqual(
            b'\0' + b'y' * 16000,
            b''.join(part[0] for part in server.heard[1:-1]))
        self.assertEqual('closed', server.heard[-1])

    def test_refused(self):
        for server in (StreamingServer([], protocol=None),
                       StreamingServer([], answer=b'HTTP/1.1 404 No\r\n'
                                       b'Content-Length: 0\r\n\r\n'),
                       StreamingServer([], answer=b'\0garbage\r\n\r\n')):
            self.useFixture(server)
            error = self.assertRaises(
                exception.RuntimeFailed, self.connect, server, None)
            self.assertIn('streaming server', str(error))
            self.assertNotIn('secret', str(error))

    def test_nobody_listens(self):
        server = self.useFixture(StreamingServer([]))
        server.cleanUp()
        self.assertRaises(exception.RuntimeFailed, self.connect, server,
                          None)
        server.setUp()
