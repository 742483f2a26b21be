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

"""The user's side of a terminal: a connection of zun-wsproxy."""

import asyncio
from typing import Protocol

from kata_openstack.compute.console import frames


class Peer(Protocol):
    """One connection."""

    async def receive(self) -> bytes:
        """Return what the user typed; b'' when the user has gone."""

    async def send(self, data: bytes) -> None:
        """Show at most frames.CHUNK bytes.

        :raises OSError: the user has gone.
        """

    async def close(self) -> None: ...


# Seconds of silence after the answer to the request. docker-py reads the
# answer through a buffer, and loses what else has arrived in it.
_SILENCE = 0.25


class Raw:
    """After the start of an exec: bytes, as with Docker."""

    def __init__(self, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter, received: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._received = received
        self._silent_until = asyncio.get_running_loop().time() + _SILENCE

    async def receive(self) -> bytes:
        if self._received:
            data, self._received = self._received, b''
            return data
        try:
            return await self._reader.read(frames.CHUNK)
        except OSError:
            return b''

    async def send(self, data: bytes) -> None:
        await asyncio.sleep(
            self._silent_until - asyncio.get_running_loop().time())
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        await frames.close(self._reader, self._writer)


class Socket:
    """Of an attach: WebSocket."""

    def __init__(self, socket: frames.WebSocket) -> None:
        self._socket = socket
        self.send = socket.send
        self.close = socket.close

    async def receive(self) -> bytes:
        while (part := await self._socket.part()) is not None:
            if part[0]:
                return part[0]
        return b''
