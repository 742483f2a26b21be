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

"""A container's own streams, which containerd serves with channels.

CRI's Attach answers with the address of containerd's streaming server. All
releases since 1.6 speak WebSocket there.
"""

import asyncio
import json
import logging
from urllib import parse

import h11
from wsproto import utilities

from kata_openstack.compute.console import frames
from kata_openstack import exception

LOG = logging.getLogger(__name__)

_PROTOCOL = 'v4.channel.k8s.io'
_STDIN = b'\0'
_OUTPUTS = (1, 2)
_STATUS = 3
_STATUS_MAX = 4096
_TIMEOUT = 10.0  # seconds for the connection and its handshake


class Attached:
    """The streams of a container's first process. Closing ends no process."""

    def __init__(self, socket: frames.WebSocket) -> None:
        self._socket = socket
        self._channel: int | None = None
        self._status = bytearray()

    @classmethod
    async def connect(cls, url: str) -> 'Attached':
        """Connect.

        :param url: what CRI answered to Attach
        :raises RuntimeFailed: containerd does not serve it.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                return cls(await _open(url))
        except (OSError, ValueError, h11.RemoteProtocolError,
                TimeoutError) as e:
            # the text could hold the token of the address
            raise exception.RuntimeFailed(
                operation='Attach', why="containerd's streaming server does "
                f'not answer ({type(e).__name__})') from None

    async def receive(self) -> bytes:
        """Return output; b'' after the end."""
        while (part := await self._socket.part()) is not None:
            data, first = part
            if first:
                if not data:
                    continue
                self._channel, data = data[0], data[1:]
            if self._channel == _STATUS:
                if len(self._status) + len(data) <= _STATUS_MAX:
                    self._status += data
            elif self._channel in _OUTPUTS and data:
                return data
        self._log_status()
        return b''

    def _log_status(self) -> None:
        try:
            status = json.loads(self._status or b'{}')
            if status.get('status') == 'Failure':
                LOG.info('containerd ended an attached terminal: %s',
                         str(status.get('message'))[:1000])
        except (ValueError, AttributeError):
            pass

    async def send(self, data: bytes) -> None:
        """Send input.

        :raises OSError: the connection has ended.
        """
        await self._socket.send(_STDIN + data)

    async def close(self) -> None:
        await self._socket.close()

    def detach(self) -> bool:
        return True

    # The process goes on, however the user left.
    finish = close
    abandon = close


async def _open(url: str) -> frames.WebSocket:
    address = parse.urlsplit(url)
    if address.scheme != 'http':
        raise ValueError('not HTTP')
    reader, writer = await asyncio.open_connection(
        address.hostname, address.port, limit=frames.CHUNK)
    try:
        return frames.WebSocket(reader, writer, True, await _shake_hands(
            reader, writer, address))
    except BaseException:
        writer.transport.abort()
        raise


async def _shake_hands(reader: asyncio.StreamReader,
                       writer: asyncio.StreamWriter,
                       address: parse.SplitResult) -> bytes:
    """Return what the server sent after it.

    :raises ValueError: the server speaks another protocol.
    """
    http = h11.Connection(h11.CLIENT)
    nonce = utilities.generate_nonce()
    target = address.path + (f'?{address.query}' if address.query else '')
    writer.write(b''.join(http.send(event) or b'' for event in (
        h11.Request(method='GET', target=target, headers=[
            ('Host', address.netloc), ('Upgrade', 'websocket'),
            ('Connection', 'Upgrade'), ('Sec-WebSocket-Key', nonce.decode()),
            ('Sec-WebSocket-Version', '13'),
            ('Sec-WebSocket-Protocol', _PROTOCOL)]), h11.EndOfMessage())))
    while (answer := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(4096))
    if not isinstance(answer, h11.InformationalResponse):
        raise ValueError('refused')
    headers = dict(answer.headers)
    if (answer.status_code != 101
            or headers.get(b'sec-websocket-accept')
            != utilities.generate_accept_token(nonce)
            or headers.get(b'sec-websocket-protocol') != _PROTOCOL.encode()):
        raise ValueError('another protocol')
    return http.trailing_data[0]
