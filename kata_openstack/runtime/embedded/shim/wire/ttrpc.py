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

"""Server and client of ttrpc, containerd's lightweight RPC.

Protocol: PROTOCOL.md of the ttrpc repository. A frame is ``u32 length,
u32 stream, u8 type, u8 flags`` (big endian) and a Request or Response.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import struct
from typing import Any
from typing import Final

from kata_openstack.runtime.embedded.shim import log
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import protobuf

UNKNOWN: Final = 2
INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
FAILED_PRECONDITION: Final = 9
UNIMPLEMENTED: Final = 12
UNAVAILABLE: Final = 14

_HEAD = struct.Struct('>IIBB')
_REQUEST, _RESPONSE = 1, 2
_MAX = 4 * 1024 * 1024


class RpcError(Exception):
    """An error answer; ``code`` is one of gRPC's status codes."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


Handler = Callable[[str, str, bytes], Awaitable[bytes]]


async def _read(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    length, stream, kind, _ = _HEAD.unpack(
        await reader.readexactly(_HEAD.size))
    if length > _MAX:
        raise ConnectionError(f'message of {length} bytes, limit {_MAX}')
    return stream, kind, await reader.readexactly(length)


class Server:
    """Answers each request in its own task.

    :param handler: called with service, method, payload; returns the
        answer or raises RpcError.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader,
                    writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                stream, kind, data = await _read(reader)
                if kind != _REQUEST:
                    continue
                task = asyncio.create_task(
                    self._answer(writer, stream, data))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, stream: int,
                      data: bytes) -> None:
        answer: dict[str, Any]
        try:
            request = messages.REQUEST.decode(data)
            answer = {'payload': await self._handler(
                request['service'], request['method'], request['payload'])}
        except RpcError as e:
            answer = {'status': {'code': e.code, 'message': str(e)}}
        except protobuf.DecodeError as e:
            answer = {'status': {'code': INVALID_ARGUMENT,
                                 'message': str(e)}}
        except asyncio.CancelledError:  # containerd waits without limit
            answer = {'status': {'code': UNAVAILABLE,
                                 'message': 'the sandbox was stopped'}}
        except Exception as e:
            log.exception('a request failed unexpectedly')
            answer = {'status': {'code': UNKNOWN, 'message':
                                 f'{type(e).__name__}: {e}'}}
        body = messages.RESPONSE.encode(answer)
        writer.write(_HEAD.pack(len(body), stream, _RESPONSE, 0) + body)
        try:
            await writer.drain()
        except ConnectionError:
            pass  # the caller is gone

    async def finish(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the requests in progress."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)


class Client:
    """Makes one call at a time, and connects when needed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stream = 1
        self._streams: tuple[asyncio.StreamReader,
                             asyncio.StreamWriter] | None = None

    async def call(self, service: str, method: str, payload: bytes,
                   metadata: list[dict[str, str]]) -> bytes:
        """Call a method and return the payload of the answer.

        :raises OSError, EOFError: the connection failed; try again.
        :raises protobuf.DecodeError: the answer cannot be read.
        :raises RpcError: the server answered with an error.
        """
        try:
            if self._streams is None:
                self._streams = await asyncio.open_unix_connection(
                    self._path)
            reader, writer = self._streams
            body = messages.REQUEST.encode({
                'service': service, 'method': method, 'payload': payload,
                'metadata': metadata})
            stream = self._stream
            writer.write(_HEAD.pack(len(body), stream, _REQUEST, 0) + body)
            self._stream += 2  # a client's stream numbers are odd
            await writer.drain()
            answered, _, data = await _read(reader)
            if answered != stream:
                raise ConnectionError(
                    f'the answer is to request {answered}, not {stream}')
            answer = messages.RESPONSE.decode(data)
        except BaseException:
            self.close()
            raise
        status = answer['status']
        if status and status['code']:
            raise RpcError(status['code'], status['message'])
        return answer['payload']

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None
        self._stream = 1
