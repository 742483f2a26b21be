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

"""A process's standard streams, between containerd's FIFOs and the agent.

Both directions have flow control by credit, see protocol.WINDOW.
"""

import asyncio
from collections.abc import Callable
import errno
import os

from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.embedded.vm import agent_channel

_MAX_QUEUED = 4 * 1024 * 1024  # window + pipes; more is an attack
_DRAIN_SECONDS = 10  # for a stalled reader, after the exit


class Streams:
    """The streams of one process.

    :param paths: of stdin, stdout, stderr; '' for none.
        Outputs may also be log URIs with the scheme file.
    :raises OSError: one cannot be opened.
    """

    def __init__(self, paths: tuple[str, str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._agent: agent_channel.Channel | None = None
        self._ident = 0
        self._connected = False
        self._stdin = -1
        self._unconsumed = 0
        self._reading = False
        self._closing = False
        self._outputs: dict[int, int] = {}  # frame type: fd
        # no list of frames: tiny frames of a guest must not cost memory
        self._queues: dict[int, bytearray] = {}
        self._drained: Callable[[], None] | None = None
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        try:
            if paths[0]:
                self._stdin = os.open(paths[0], os.O_RDONLY | flags)
            for kind, path in ((protocol.STDOUT, paths[1]),
                               (protocol.STDERR, paths[2])):
                if path:
                    self._outputs[kind] = _open_output(path, flags)
                self._queues[kind] = bytearray()
        except OSError:
            self.close()
            raise

    @property
    def has_stdin(self) -> bool:
        return self._stdin >= 0

    def attach(self, agent: agent_channel.Channel, ident: int) -> None:
        """Accept output from now on.

        It can arrive before the guest answers that the process started.
        """
        self._agent, self._ident = agent, ident

    def connect(self) -> None:
        """Send input from now on: the process exists in the guest."""
        self._connected = True
        self._watch_stdin()

    # Input

    def _watch_stdin(self) -> None:
        wanted = (self._stdin >= 0 and self._connected
                  and self._agent is not None
                  and self._unconsumed < protocol.WINDOW)
        if wanted and not self._reading:
            # epoll reports the end only after a writer has opened the FIFO
            self._loop.add_reader(self._stdin, self._read_stdin)
        elif self._reading and not wanted and self._stdin >= 0:
            self._loop.remove_reader(self._stdin)
        self._reading = wanted
        if wanted and self._closing:
            self._loop.call_soon(self._read_stdin)

    def _read_stdin(self) -> None:
        if not self._reading or self._agent is None:
            return
        try:
            data = os.read(self._stdin, protocol.CHUNK)
        except BlockingIOError:
            if not self._closing:
                return
            data = b''
        if data:
            self._unconsumed += len(data)
            self._agent.send(protocol.STDIN, self._ident, data)
        else:
            self._agent.send(protocol.STDIN_EOF, self._ident)
            self._close_stdin()
        self._watch_stdin()

    def consumed(self, count: int) -> None:
        self._unconsumed = max(0, self._unconsumed - count)
        if self._unconsumed < protocol.WINDOW // 2:
            self._watch_stdin()

    def close_stdin(self) -> None:
        """Send the input that is in the FIFO, then the end of the input."""
        self._closing = True
        self._watch_stdin()

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            if self._reading:
                self._loop.remove_reader(self._stdin)
                self._reading = False
            os.close(self._stdin)
            self._stdin = -1

    # Output

    def output(self, kind: int, data: bytes) -> None:
        """Write output of the guest to the FIFO.

        :raises protocol.ProtocolError: the guest ignores the window.
        """
        fd = self._outputs.get(kind)
        if fd is None:
            self._acknowledge(len(data))
            return
        if self._queued + len(data) > _MAX_QUEUED:
            raise protocol.ProtocolError('output beyond the window')
        queue = self._queues[kind]
        queue += data
        if data and len(queue) == len(data):
            self._write(kind)

    @property
    def _queued(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def _write(self, kind: int) -> None:
        fd, queue = self._outputs[kind], self._queues[kind]
        written = 0
        try:
            while queue:
                count = os.write(fd, queue)
                written += count
                del queue[:count]
        except BlockingIOError:
            self._loop.add_writer(fd, self._write, kind)
        else:
            self._loop.remove_writer(fd)
        self._acknowledge(written)
        if self._drained and not self._queued:
            self._finish()

    def _acknowledge(self, count: int) -> None:
        if self._agent and count:
            self._agent.send(protocol.ACK, self._ident,
                             protocol.COUNT.pack(count))

    # End

    def finish(self, drained: Callable[[], None]) -> None:
        """Deliver all output, close, and call ``drained``.

        Undelivered output is dropped after _DRAIN_SECONDS.
        """
        self._drained = drained
        self._agent = None
        if self._queued:
            self._loop.call_later(_DRAIN_SECONDS, self._finish)
        else:
            self._finish()

    def _finish(self) -> None:
        drained, self._drained = self._drained, None
        if drained:
            self.close()
            drained()

    def close(self) -> None:
        self._close_stdin()
        for fd in self._outputs.values():
            self._loop.remove_writer(fd)
            os.close(fd)
        self._outputs.clear()


def _open_output(path: str, flags: int) -> int:
    """Open a FIFO, or the file of a log URI.

    :raises OSError: also for a URI with another scheme.
    """
    scheme, separator, rest = path.partition('://')
    if not separator or '/' in scheme:
        # read-write, so that the pipe survives while containerd, its
        # reader, restarts
        return os.open(path, os.O_RDWR | flags)
    if scheme not in ('file', 'fifo'):
        raise OSError(errno.EOPNOTSUPP, 'kata-embedded does not support log '
                      f'URIs with the scheme {scheme}. Use file://', path)
    # by hand, because urllib is slow to import
    first, *escaped = os.fsencode(rest.partition('?')[0]).split(b'%')
    target = os.fsdecode(b''.join([first, *(
        bytes.fromhex(part[:2].decode()) + part[2:] for part in escaped)]))
    if scheme == 'fifo':
        return os.open(target, os.O_RDWR | flags)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    return os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | flags,
                   0o640)
