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

"""Pass bytes between a user and a process, with little memory.

Who does not read is not read from: the other side then waits, too.
"""

import asyncio
import contextlib
import enum
from typing import Protocol

from kata_openstack.compute.console import frames
from kata_openstack.compute.console import peers
from kata_openstack.compute.console import text

# A paste must not wait for the process. zun-wsproxy reads no output while it
# waits to pass input on, so both would wait for each other: the echo of a
# paste is longer than the buffers of the connection.
_INPUT_MAX = 1024 * 1024
# Seconds for the rest of a character: the process may be slow
_CHARACTER = 0.5
# Seconds for the input that a user sent just before leaving
_LAST_INPUT = 1.0


class Target(Protocol):
    """The process, or the container, behind a terminal."""

    async def receive(self) -> bytes:
        """Return at most frames.CHUNK bytes of output; b'' at the end."""

    async def send(self, data: bytes) -> None:
        """Pass input on.

        :raises OSError: nobody reads the input any more.
        """


class End(enum.Enum):
    """Why a relay has ended."""

    EXITED = 'the process has ended'
    GONE = 'the user has gone'
    DETACHED = 'the user has detached'
    STALLED = 'the user does not read'


class _Input:
    """A buffer with a limit."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._changed = asyncio.Condition()

    async def put(self, data: bytes) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._data) < _INPUT_MAX)
            self._data += data
            self._changed.notify_all()

    async def get(self) -> bytes:
        async with self._changed:
            await self._changed.wait_for(lambda: self._data)
            data = bytes(self._data[:frames.CHUNK])
            del self._data[:frames.CHUNK]
            self._changed.notify_all()
            return data

    async def empty(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._data)


class Relay:
    """One user at one process.

    :param terminal: look for the keys to detach
    :param patience: seconds for a user who does not read; None: no limit
    """

    def __init__(self, peer: peers.Peer, target: Target, terminal: bool,
                 patience: float | None = None) -> None:
        self._peer = peer
        self._target = target
        self._keys = text.DetachKeys() if terminal else None
        self._patience = patience
        self._input = _Input()
        self._characters = text.WholeCharacters()

    async def run(self) -> End:
        """Return when one side has ended. Closes neither."""
        feeding = asyncio.create_task(self._feed())
        ends = {asyncio.create_task(self._read_user()),
                asyncio.create_task(self._show())}
        try:
            done, _ = await asyncio.wait(
                ends, return_when=asyncio.FIRST_COMPLETED)
            end = done.pop().result()
            if end in (End.GONE, End.DETACHED) and not feeding.done():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_INPUT):
                        await self._input.empty()
            return end
        finally:
            for task in (feeding, *ends):
                task.cancel()
            await asyncio.gather(feeding, *ends, return_exceptions=True)

    async def _read_user(self) -> End:
        while data := await self._peer.receive():
            detached = False
            if self._keys:
                data, detached = self._keys.feed(data)
            if data:
                await self._input.put(data)
            if detached:
                return End.DETACHED
        return End.GONE

    async def _feed(self) -> None:
        while True:
            data = await self._input.get()
            with contextlib.suppress(OSError):  # as a terminal that hung up
                await self._target.send(data)

    async def _show(self) -> End:
        reading = asyncio.create_task(self._target.receive())
        try:
            while True:
                done, _ = await asyncio.wait(
                    {reading}, timeout=_CHARACTER
                    if self._characters.waiting else None)
                if not done:
                    await self._send(self._characters.flush())
                    continue
                data = reading.result()
                if not data:
                    await self._send(self._characters.flush())
                    return End.EXITED
                await self._send(self._characters.feed(data))
                reading = asyncio.create_task(self._target.receive())
        except TimeoutError:
            return End.STALLED
        except OSError:
            return End.GONE
        finally:
            reading.cancel()
            # its last step must not meet the next reader
            await asyncio.gather(reading, return_exceptions=True)

    async def _send(self, data: bytes) -> None:
        # U+FFFD is longer than the byte that it replaces
        pieces = [data] if len(data) <= frames.CHUNK else _pieces(data)
        for piece in pieces:
            if piece:
                async with asyncio.timeout(self._patience):
                    await self._peer.send(piece)


def _pieces(data: bytes) -> list[bytes]:
    """Cut between characters. Each has at most four bytes."""
    shown, size = data.decode(), frames.CHUNK // 4
    return [shown[i:i + size].encode() for i in range(0, len(shown), size)]
