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

"""A small asyncio client of QEMU's monitor protocol (QMP)."""

import asyncio
from collections.abc import Sequence
import json
import re
import socket
from typing import Any

_MAX_LINE = 1024 * 1024
# For match(): search() would try each start of a long line.
_SHUTDOWN = re.compile(
    rb'(?=.*"event": "SHUTDOWN").*"reason": "([a-z-]{1,40})"')


class QmpError(Exception):
    """QEMU refused a command, or has ended."""


class Qmp:
    """Sends one command at a time.

    Of the events, only the reason of a shutdown is kept.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._buffer = b''
        self._lock = asyncio.Lock()
        self._watched = False
        self._last = 0  # the ID of the last command
        self._shutdown = ''
        self._version = (0, 0)

    async def open(self) -> None:
        """Wait for the greeting, which QEMU sends when it is set up."""
        greeting = await self._line()
        try:
            version = greeting['QMP']['version']['qemu']
            self._version = version['major'], version['minor']
        except (KeyError, TypeError) as e:
            raise QmpError('QEMU did not send its version') from e
        await self.execute('qmp_capabilities')

    async def pass_file(self, fd: int) -> str:
        """Pass an open file to QEMU; return its URI for a migration.

        Since 9.1, QEMU warns of a file behind ``fd:``. The warning would
        be taken for the cause when QEMU ends.
        """
        if self._version < (9, 1):
            await self.execute('getfd', fds=[fd], fdname='state')
            return 'fd:state'
        await self.execute('add-fd', fds=[fd], **{'fdset-id': 0})
        return 'file:/dev/fdset/0'

    async def add_socket(self, ident: str, fd: int) -> None:
        """Pass a connected socket to QEMU, as a new character device."""
        await self.execute('getfd', fds=[fd], fdname='socket')
        await self.execute('chardev-add', id=ident, backend={
            'type': 'socket', 'data': {
                'addr': {'type': 'fd', 'data': {'str': 'socket'}},
                'server': False}})

    async def execute(self, command: str, fds: Sequence[int] = (),
                      **arguments: Any) -> Any:
        """Run a command and return its result.

        :raises QmpError: with QEMU's error text.
        """
        async with self._lock:
            self._last += 1
            request = {'execute': command, 'id': self._last}
            if arguments:
                request['arguments'] = arguments
            data = json.dumps(request).encode() + b'\n'
            watched = self._unwatch()
            try:
                if fds:
                    socket.send_fds(self._socket, [data], list(fds))
                else:
                    loop = asyncio.get_running_loop()
                    await loop.sock_sendall(self._socket, data)
                while True:
                    answer = await self._line()
                    # that of a command which was cancelled may come first
                    if answer.get('id', self._last) != self._last:
                        continue
                    if 'return' in answer:
                        return answer['return']
                    if 'error' in answer:
                        raise QmpError(f'{command}: '
                                       f'{answer["error"].get("desc")}')
            except OSError as e:
                raise QmpError(f'{command}: {e}') from e
            finally:
                if watched:
                    self.watch()

    def watch(self) -> None:
        """Read what QEMU sends without being asked, from now on.

        A guest causes events. QEMU would keep them in its memory.
        """
        if self._socket.fileno() >= 0:  # else it was closed meanwhile
            self._watched = True
            asyncio.get_running_loop().add_reader(self._socket, self._drain)

    def shutdown_reason(self) -> str:
        """Return QEMU's word for the reason of its end, '' if it gave none.

        See ShutdownCause in QEMU's documentation of QMP.
        """
        if self._watched:
            self._drain()
        return self._shutdown

    def _drain(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            self._unwatch()
            return
        *lines, rest = (self._buffer + data).split(b'\n')
        self._buffer = rest[-_MAX_LINE:]
        for line in lines:
            self._note(line)

    def _note(self, line: bytes) -> None:
        found = _SHUTDOWN.match(line)
        if found:
            self._shutdown = found[1].decode()

    def _unwatch(self) -> bool:
        """Return whether it was watched."""
        watched, self._watched = self._watched, False
        if watched:
            asyncio.get_running_loop().remove_reader(self._socket)
        return watched

    async def _line(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        while b'\n' not in self._buffer:
            data = await loop.sock_recv(self._socket, 65536)
            if not data or len(self._buffer) > _MAX_LINE:
                raise QmpError('QEMU has ended')
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b'\n')
        self._note(line)
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise QmpError('QEMU sent invalid JSON') from e
        if not isinstance(answer, dict):
            raise QmpError('QEMU did not send a JSON object')
        return answer

    def close(self) -> None:
        self._unwatch()
        self._socket.close()
