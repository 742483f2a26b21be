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

"""The shim's end of the agent channel, which does not trust the guest."""

import asyncio
from collections.abc import Callable
import json
import os
import socket
from typing import Any
from typing import Protocol

from kata_openstack.runtime.embedded.common import protocol

_MAX_UNSENT = 32 * 1024 * 1024
_MAX_ERROR = 2000


class AgentError(Exception):
    """The agent refused a call and sent this text, or it is gone."""


class AgentGone(AgentError):
    """The VM has ended or does not answer."""


class Receiver(Protocol):
    """Receives the agent's messages about one process."""

    def on_output(self, kind: int, data: bytes) -> None: ...

    def on_consumed(self, count: int) -> None: ...

    def on_exit(self, code: int, oom: bool) -> None: ...


class Channel:
    """Calls to the agent, and streams of processes.

    When the channel closes, all waiting calls fail and ``on_gone`` is
    called once with the reason. ``on_oom`` is called with a container's ID
    as the guest sent it, unchecked.
    """

    def __init__(self, connection: socket.socket,
                 on_gone: Callable[[str], None],
                 on_oom: Callable[[str], None]) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._on_gone = on_gone
        self._on_oom = on_oom
        self._loop = asyncio.get_running_loop()
        self._decoder = protocol.Decoder(protocol.MAX_FROM_GUEST)
        self._unsent = bytearray()
        self._last = 0
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._receivers: dict[int, Receiver] = {}
        self._open = True
        self._end = ''  # why it is not open any more
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(connection, self._readable)

    def new_id(self) -> int:
        self._last += 1
        return self._last

    async def call(self, method: str, *, seconds: float = 10,
                   **arguments: Any) -> dict[str, Any]:
        """Call a method of the agent and return its answer.

        :raises AgentGone: there was no answer within ``seconds``, or the
            channel was closed before it came.
        :raises AgentError: the agent refused, or the arguments are too long.
        """
        if not self._open:
            raise AgentGone(self._end)
        data = json.dumps({'do': method, **arguments},
                          ensure_ascii=False).encode(errors='surrogateescape')
        if len(data) > protocol.MAX_FROM_HOST:
            raise AgentError(
                f'the configuration of the process has {len(data)} bytes, '
                f'but the guest takes {protocol.MAX_FROM_HOST}; use shorter '
                'environment variables and arguments')
        ident = self.new_id()
        future = self._calls[ident] = self._loop.create_future()
        self.send(protocol.CALL, ident, data)
        try:
            async with asyncio.timeout(seconds):
                answer = await future
        except TimeoutError:
            raise AgentGone(f'the guest agent did not answer "{method}" '
                            f'within {seconds:g} s') from None
        finally:
            self._calls.pop(ident, None)
        if 'error' in answer:
            raise AgentError(printable(str(answer['error'])))
        return answer

    def send_call(self, method: str, **arguments: Any) -> None:
        """Call a method of the agent without a wait for its answer."""
        self.send(protocol.CALL, self.new_id(),
                  json.dumps({'do': method, **arguments}).encode())

    def receive(self, ident: int, receiver: Receiver) -> None:
        self._receivers[ident] = receiver

    def forget(self, ident: int) -> None:
        self._receivers.pop(ident, None)

    def send(self, kind: int, ident: int, payload: bytes = b'') -> None:
        if not self._open:
            return
        waiting = bool(self._unsent)
        self._unsent += protocol.frame(kind, ident, payload)
        if len(self._unsent) > _MAX_UNSENT:
            self.close('the guest agent does not read its input')
        elif not waiting:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[:self._socket.send(self._unsent[:262144])]
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._flush)
            return
        except OSError as e:
            self.close(f'QEMU has ended: {e}')
            return
        self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(256 * 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            self.close('QEMU has ended')  # it alone holds the other end
            return
        try:
            for kind, ident, payload in self._decoder.feed(data):
                self._on_frame(kind, ident, payload)
        except (protocol.ProtocolError, ValueError, RecursionError) as e:
            self.close(f'the guest agent violates the protocol: {e}')

    def _on_frame(self, kind: int, ident: int, payload: bytes) -> None:
        receiver = self._receivers.get(ident)
        if kind in (protocol.STDOUT, protocol.STDERR) and receiver:
            receiver.on_output(kind, payload)
        elif kind == protocol.ACK and receiver and len(payload) == 4:
            receiver.on_consumed(*protocol.COUNT.unpack(payload))
        elif kind == protocol.EXIT and receiver and len(payload) == 5:
            code, oom = protocol.STATUS.unpack(payload)
            self.forget(ident)
            receiver.on_exit(code & 0xFF, bool(oom))
        elif kind == protocol.REPLY and ident in self._calls:
            answer = json.loads(payload)
            future = self._calls.pop(ident)
            if not isinstance(answer, dict):
                answer = {'error': 'the answer is not a JSON object'}
            if not future.done():
                future.set_result(answer)
        elif kind == protocol.READY and not self.ready.done():
            self.ready.set_result(None)
        elif kind == protocol.OOM:
            self._on_oom(payload.decode(errors='replace'))

    def close(self, reason: str) -> None:
        if not self._open:
            return
        self._open = False
        self._end = reason
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._unsent.clear()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(AgentGone(reason))
        if not self.ready.done():
            self.ready.set_exception(AgentGone(reason))
            self.ready.exception()  # else asyncio warns if none awaits it
        receivers, self._receivers = self._receivers, {}
        for receiver in receivers.values():
            receiver.on_exit(137, False)
        self._on_gone(reason)


def printable(text: str) -> str:
    """Return a guest's text, cut and cleaned for logs and users."""
    return ''.join(c if c.isprintable() else ' '
                   for c in text[:_MAX_ERROR]).strip()


def last_words(path: str) -> str:
    """Return the end of a log that a guest may have filled; '' if none."""
    try:
        with open(path, 'rb') as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _MAX_ERROR))
            return printable(file.read(_MAX_ERROR).decode(errors='replace'))
    except OSError:
        return ''
