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

"""HTTP on a new connection, until it becomes a terminal.

Anybody who reaches the port may send anything, so the sizes are limited.
"""

import asyncio
from collections.abc import Iterable
import dataclasses
import json
from typing import Any

import h11

_HEAD_MAX = 16 * 1024
_BODY_MAX = 4 * 1024
_READ = 4096


class BadRequest(Exception):
    """The text is for the client; it quotes nothing of the request."""


@dataclasses.dataclass(frozen=True)
class Request:
    """``headers`` has lower-case names, and the last value of each."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Connection:
    """The HTTP side of one connection."""

    def __init__(self, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._http = h11.Connection(h11.SERVER,
                                    max_incomplete_event_size=_HEAD_MAX)

    async def request(self) -> Request | None:
        """Read one request.

        :returns: None if the client sends no more.
        :raises BadRequest:
        """
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > _BODY_MAX:
                raise BadRequest('The body is too large.')
        if not isinstance(event, h11.EndOfMessage):
            return None
        return Request(
            head.method.decode('latin-1'), head.target.decode('latin-1'),
            {name.decode('latin-1'): value.decode('latin-1')
             for name, value in head.headers}, bytes(body))

    async def _event(self) -> Any:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                raise BadRequest('This is no valid HTTP request.') from None
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self.reader.read(_READ))

    async def answer(self, status: int, body: dict[str, Any]) -> bool:
        """Send a response of JSON.

        :returns: whether another request may follow.
        """
        if self._http.our_state not in (h11.SEND_RESPONSE, h11.IDLE):
            return False
        data = json.dumps(body).encode()
        self.writer.write(b''.join(self._http.send(event) or b'' for event in (
            h11.Response(status_code=status, headers=[
                ('Content-Type', 'application/json'),
                ('Content-Length', str(len(data)))]),
            h11.Data(data=data), h11.EndOfMessage())))
        await self.writer.drain()
        if (self._http.our_state is not h11.DONE
                or self._http.their_state is not h11.DONE):
            return False
        self._http.start_next_cycle()
        return True

    async def switch(self, headers: Iterable[tuple[str, str]]) -> bytes:
        """Leave HTTP.

        :returns: what the client has sent since its request.
        :raises BadRequest: the client does not want to leave.
        """
        try:
            head = self._http.send(h11.InformationalResponse(
                status_code=101, headers=list(headers),
                reason='Switching Protocols'))
        except h11.LocalProtocolError:
            raise BadRequest('An upgrade of the connection is missing.'
                             ) from None
        self.writer.write(head or b'')
        await self.writer.drain()
        return self._http.trailing_data[0]
