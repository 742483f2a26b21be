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

"""WebSocket messages on a connection, as server and as client."""

import asyncio

from wsproto import frame_protocol
from wsproto import utilities

from kata_openstack.compute.console import heads

# Bytes of a message: with its header, it fits into one record of TLS. zun-
# wsproxy waits with select(), which does not see a second message in a record.
CHUNK = 16 * 1024 - 128
_LINGER = 5.0  # seconds for the last bytes of a connection


def accepted(request: heads.Request) -> list[tuple[str, str]]:
    """Return the headers that accept a client.

    :raises heads.BadRequest: it does not speak WebSocket.
    """
    key = request.headers.get('sec-websocket-key', '')
    if (request.headers.get('upgrade', '').lower() != 'websocket'
            or request.headers.get('sec-websocket-version') != '13'
            or not key):
        raise heads.BadRequest('Use WebSocket, version 13.')
    token = utilities.generate_accept_token(key.encode('latin-1'))
    return [('Upgrade', 'websocket'), ('Connection', 'Upgrade'),
            ('Sec-WebSocket-Accept', token.decode())]


async def close(reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter) -> None:
    """Send what is left, then close the connection.

    Waits up to _LINGER for the other side to close: a connection that is
    closed with unread input loses its last output, too.
    """
    try:
        async with asyncio.timeout(_LINGER):
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
                while await reader.read(CHUNK):
                    pass
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()


class WebSocket:
    """Messages, in parts of the size in which they arrive.

    Text is not checked: wsproxy sends bytes of any kind as text.
    """

    def __init__(self, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter, client: bool,
                 received: bytes = b'') -> None:
        """:param received: what arrived after the handshake"""
        self._reader = reader
        self._writer = writer
        self._frames = frame_protocol.FrameProtocol(client, [])
        # The decoder above the frames would check text.
        self._decoder = frame_protocol.FrameDecoder(client)
        self._decoder.receive_bytes(received)
        self._first = True

    async def part(self) -> tuple[bytes, bool] | None:
        """Return a part of a message, and whether it is the first.

        :returns: None at the end of the connection.
        """
        while True:
            try:
                frame = self._decoder.process_buffer()
            except frame_protocol.ParseFailed:
                return None
            if frame is None:
                try:
                    data = await self._reader.read(CHUNK)
                except OSError:
                    return None
                if not data:
                    return None
                self._decoder.receive_bytes(data)
                continue
            payload = frame.payload
            assert isinstance(payload, bytes)
            if frame.opcode is frame_protocol.Opcode.CLOSE:
                return None
            if frame.opcode is frame_protocol.Opcode.PING:
                await self._write(self._frames.pong(payload))
            elif frame.opcode is not frame_protocol.Opcode.PONG:
                first = self._first
                self._first = frame.frame_finished and frame.message_finished
                return payload, first

    async def send(self, data: bytes) -> None:
        """Send one binary message of at most CHUNK bytes.

        :raises OSError: the connection has ended.
        """
        await self._write(self._frames.send_data(data, fin=True))

    async def _write(self, data: bytes | bytearray) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        try:
            self._writer.write(self._frames.close(
                frame_protocol.CloseReason.NORMAL_CLOSURE))
        except OSError:
            pass
        await close(self._reader, self._writer)
