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

"""Archives of containers' files on their way to and from the guest.

A child of the agent packs or unpacks. Its streams have flow control by credit,
see protocol.WINDOW: what kata-compute does not take, the guest does not send.
"""

import asyncio
import binascii
import json
from typing import Any
from typing import Final

from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.vm import agent_channel

PART: Final = 1024 * 1024  # bytes of an archive in one call
MOST: Final = 4  # transfers of a container at the same time
_WAIT_SECONDS = 20.0  # of one call, until the guest moves something
_IDLE_SECONDS = 120.0  # without a call, until a transfer ends by itself
_MAX_TOLD = 8 * 1024  # bytes of the outcome
# what a correct guest can send beyond its window, and what is in transit
_MAX_QUEUED = protocol.WINDOW + 2 * protocol.MAX_FROM_GUEST
_SIGKILL = 9


class TransferError(Exception):
    """A request that cannot be done."""


class Transfer:
    """One archive. Implements agent_channel.Receiver.

    :param limit: bytes that the guest may send.
    """

    def __init__(self, agent: agent_channel.Channel, container: str,
                 limit: int) -> None:
        self.container = container
        self.ident = agent.new_id()
        self.ended = False
        self._agent = agent
        self._left = limit
        self._received = bytearray()
        self._told = bytearray()
        self._unconsumed = 0
        self._moved = asyncio.Event()
        agent.receive(self.ident, self)

    # Messages of the agent

    def on_output(self, kind: int, data: bytes) -> None:
        """:raises protocol.ProtocolError: the guest ignores its limits."""
        if kind == protocol.STDERR:
            if len(self._told) + len(data) > _MAX_TOLD:
                raise protocol.ProtocolError('the outcome of a copy is long')
            self._told += data
            self._acknowledge(len(data))
            return
        self._left -= len(data)
        if (self._left < 0
                or len(self._received) + len(data) > _MAX_QUEUED):
            raise protocol.ProtocolError(
                'an archive beyond its window or its size')
        self._received += data
        self._moved.set()

    def on_consumed(self, count: int) -> None:
        self._unconsumed = max(0, self._unconsumed - count)
        self._moved.set()

    def on_exit(self, code: int, oom: bool) -> None:
        self.ended = True
        self._moved.set()

    def _acknowledge(self, count: int) -> None:
        if count:
            self._agent.send(protocol.ACK, self.ident,
                             protocol.COUNT.pack(count))

    # Calls of kata-compute

    async def read(self) -> bytes:
        """Return some bytes of the archive; b'' if none came in time."""
        parts = bytearray()
        while len(parts) < PART:
            if self._received:
                parts += self._received
                self._acknowledge(len(self._received))
                self._received.clear()
            elif self.ended or not await self._wait():
                break
        return bytes(parts)

    async def write(self, data: bytes) -> int:
        """Send bytes; return how many the guest took in time."""
        sent = 0
        while sent < len(data) and not self.ended:
            if self._unconsumed >= protocol.WINDOW:
                if not await self._wait():
                    break
                continue
            part = data[sent:sent + protocol.CHUNK]
            self._agent.send(protocol.STDIN, self.ident, part)
            self._unconsumed += len(part)
            sent += len(part)
        return sent

    def finish_input(self) -> None:
        self._agent.send(protocol.STDIN_EOF, self.ident)

    async def _wait(self) -> bool:
        self._moved.clear()
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._moved.wait()
        except TimeoutError:
            return False
        return True

    @property
    def complete(self) -> bool:
        return self.ended and not self._received

    def outcome(self) -> Any:
        """Return what the child told, unchecked; {} if that is no JSON."""
        try:
            return json.loads(self._told)
        except (ValueError, RecursionError):
            return {}


class Transfers:
    """The archives of a pod that are on their way."""

    def __init__(self, pod: sandbox.Sandbox) -> None:
        self._pod = pod
        self._transfers: dict[int, Transfer] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    async def open(self, container: str, order: dict[str, Any]
                   ) -> dict[str, Any]:
        """Begin to copy.

        :param order: see work.Order.
        :returns: ``transfer``, the number for the other calls.
        :raises TransferError, agent_channel.AgentError:
        """
        mine = [one for one in self._transfers.values()
                if one.container == container]
        if len(mine) >= MOST:
            raise TransferError(f'{MOST} copies of this container are in '
                                'progress already')
        new = Transfer(self._pod.agent, container,
                       0 if order['put'] else order['limit'])
        self._transfers[new.ident] = new
        self._touch(new.ident)
        try:
            await self._pod.agent.call('archive', ident=new.ident,
                                       container=container, order=order)
        except agent_channel.AgentError:
            self._drop(new.ident)
            raise
        return {'transfer': new.ident}

    async def read(self, transfer: int) -> dict[str, Any]:
        """Take a part of an archive, or wait for the end of unpacking.

        :returns: ``data`` in base64, ``end``, and then ``outcome``.
        :raises TransferError:
        """
        found = self._touch(transfer)
        data = await found.read()
        end = found.complete
        return {'data': binascii.b2a_base64(data, newline=False).decode(),
                'end': end, **({'outcome': found.outcome()} if end else {})}

    async def write(self, transfer: int, data: str, last: bool
                    ) -> dict[str, Any]:
        """Give a part of an archive to unpack.

        :returns: ``taken``, the number of bytes; ``ended``: the child has
            ended, so ask for the outcome.
        :raises TransferError:
        """
        found = self._touch(transfer)
        raw = binascii.a2b_base64(data)
        taken = await found.write(raw)
        if last and taken == len(raw):
            found.finish_input()
        return {'taken': taken, 'ended': found.ended}

    async def close(self, transfer: int) -> dict[str, Any]:
        """End a transfer. Idempotent."""
        self._drop(transfer)
        return {}

    def _touch(self, transfer: int) -> Transfer:
        found = self._transfers.get(transfer)
        if found is None:
            raise TransferError('the copy has ended, because nobody asked '
                                'for it in time')
        if timer := self._timers.pop(transfer, None):
            timer.cancel()
        self._timers[transfer] = asyncio.get_running_loop().call_later(
            _IDLE_SECONDS, self._drop, transfer)
        return found

    def _drop(self, transfer: int) -> None:
        found = self._transfers.pop(transfer, None)
        if timer := self._timers.pop(transfer, None):
            timer.cancel()
        if found is None:
            return
        self._pod.agent.forget(transfer)
        if not found.ended:
            self._pod.agent.send_call('kill', ident=transfer,
                                      number=_SIGKILL, everyone=False)
