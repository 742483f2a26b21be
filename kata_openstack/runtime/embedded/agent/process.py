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

"""A process that crun starts, its standard streams and its exit."""

import array
from collections.abc import Callable
import errno
import fcntl
import os
import select
import signal
import socket
import struct
from typing import NoReturn
from typing import Protocol

from kata_openstack.runtime.embedded.common import protocol

_TIOCSWINSZ = 0x5414
_PIPE_MAX = 1024 * 1024


class Events(Protocol):
    """The part of the agent's event loop that a process uses."""

    def watch(self, fd: int, mask: int, process: 'Process') -> None: ...

    def forget(self, fd: int) -> None: ...

    def send(self, kind: int, ident: int, payload: bytes = b'') -> None: ...


class Process:
    """The first process of a container, or one that exec added.

    ``starter`` is crun's pid until crun ends. After that, ``pid`` is the
    pid of the process itself.
    """

    def __init__(self, events: Events, ident: int, container: str,
                 folder: str, terminal: bool, first: bool) -> None:
        self.ident = ident
        self.container = container
        self.folder = folder
        self.terminal = terminal
        self.first = first
        self.copy = False  # of the agent, not a program of the container
        self.aborted = False  # the shim has asked for its end
        self.starter = 0
        self.pid = 0
        self.size = (0, 0)
        self._events = events
        self._console: socket.socket | None = None
        self._stdin = -1
        self._stdin_data = bytearray()
        self._stdin_eof = False
        self._outputs: dict[int, int] = {}  # fd -> frame type
        self._paused = False
        self._unacknowledged = 0

    # Start

    def spawn(self, argv: list[str], stdin: bool) -> None:
        """Start crun with this process's streams."""
        if self.terminal:
            self._console = socket.socket(socket.AF_UNIX)
            self._console.bind(f'{self.folder}/tty')
            self._console.listen(1)
            ends = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
        else:
            ends = self._make_pipes(stdin)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number)
                   for number, fd in enumerate(ends)]
        try:
            self.starter = os.posix_spawn(
                argv[0], argv, os.environ, file_actions=actions,
                setsigmask=[], setsigdef=[signal.SIGPIPE])
        finally:
            for fd in ends:
                os.close(fd)

    def fork(self, program: Callable[[], NoReturn], stdin: bool) -> None:
        """Start a copy of the agent that runs ``program``."""
        self.copy = True
        ends = self._make_pipes(stdin)
        try:
            self.pid = os.fork()
            if not self.pid:
                _become(program, ends)
        finally:
            for fd in ends:
                os.close(fd)

    def _make_pipes(self, stdin: bool) -> list[int]:
        ends = []
        if stdin:
            reader, self._stdin = os.pipe()
            os.set_blocking(self._stdin, False)
        else:
            reader = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        ends.append(reader)
        for kind in (protocol.STDOUT, protocol.STDERR):
            fd, writer = os.pipe()
            os.set_blocking(fd, False)
            self._outputs[fd] = kind
            self._events.watch(fd, select.POLLIN, self)
            ends.append(writer)
        return ends

    def started(self) -> None:
        """Read the pid and take the terminal, after crun has succeeded."""
        with open(f'{self.folder}/pid') as file:
            self.pid = int(file.read())
        self.starter = 0
        if self._console:
            self._take_terminal(self._console)
            self._console.close()
            self._console = None

    def _take_terminal(self, console: socket.socket) -> None:
        connection, _ = console.accept()
        with connection:
            fds = array.array('i')
            _, control, _, _ = connection.recvmsg(
                4096, socket.CMSG_SPACE(fds.itemsize))
        for level, kind, data in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[:fds.itemsize])
        master = fds[0]
        os.set_inheritable(master, False)
        os.set_blocking(master, False)
        self._stdin = master
        self._outputs[master] = protocol.STDOUT
        self._events.watch(master, select.POLLIN, self)
        if any(self.size):
            self.resize(*self.size)
        self._pump_stdin()

    def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)
        if self.terminal and self._stdin >= 0:
            fcntl.ioctl(self._stdin, _TIOCSWINSZ,
                        struct.pack('HHHH', rows, columns, 0, 0))

    # Streams

    def ready(self, fd: int, mask: int) -> None:
        """Handle an ``fd`` that can be read or written."""
        if fd == self._stdin and mask & select.POLLOUT:
            self._pump_stdin()
        if fd in self._outputs and mask & ~select.POLLOUT:
            self._pump_output(fd)

    def _pump_output(self, fd: int) -> bool:
        """Send one chunk to the shim; return False if there is none now."""
        try:
            data = os.read(fd, protocol.CHUNK)
        except BlockingIOError:
            return False
        except OSError as e:
            if e.errno != errno.EIO:  # the terminal's other side is closed
                raise
            data = b''
        if not data:
            self._close_output(fd)
            return False
        self._events.send(self._outputs[fd], self.ident, data)
        self._unacknowledged += len(data)
        if self._unacknowledged >= protocol.WINDOW and not self._paused:
            self._paused = True
            self._watch_outputs()
        return True

    def acknowledge(self, count: int) -> None:
        self._unacknowledged = max(0, self._unacknowledged - count)
        if self._paused and self._unacknowledged < protocol.WINDOW // 2:
            self._paused = False
            self._watch_outputs()

    def _watch_outputs(self) -> None:
        for fd in self._outputs:
            self._watch(fd)

    def _watch(self, fd: int) -> None:
        mask = 0
        if fd in self._outputs and not self._paused:
            mask |= select.POLLIN
        if fd == self._stdin and self._stdin_data:
            mask |= select.POLLOUT
        if mask:
            self._events.watch(fd, mask, self)
        else:
            self._events.forget(fd)

    def _close_output(self, fd: int) -> None:
        self._events.forget(fd)
        del self._outputs[fd]
        if fd == self._stdin:
            self._stdin = -1
        os.close(fd)

    def feed(self, data: bytes) -> None:
        self._stdin_data += data
        self._pump_stdin()

    def end_stdin(self) -> None:
        self._stdin_eof = True
        self._pump_stdin()

    def _pump_stdin(self) -> None:
        if self._stdin < 0 and self._console:
            return  # crun has not passed the terminal yet
        written = 0
        try:
            while self._stdin >= 0 and written < len(self._stdin_data):
                written += os.write(
                    self._stdin, self._stdin_data[written:written + 65536])
        except BlockingIOError:
            pass
        except OSError:  # the process has closed its stdin
            written = len(self._stdin_data)
        if self._stdin < 0:
            written = len(self._stdin_data)
        if written:
            del self._stdin_data[:written]
            self._events.send(protocol.ACK, self.ident,
                              protocol.COUNT.pack(written))
        if self._stdin >= 0:
            if (self._stdin_eof and not self._stdin_data
                    and not self.terminal):
                self._events.forget(self._stdin)
                os.close(self._stdin)
                self._stdin = -1
            else:
                self._watch(self._stdin)

    # End

    def ended(self, status: int, oom: bool) -> None:
        """Send the remaining output, then the exit code."""
        for fd in list(self._outputs):
            left = _PIPE_MAX  # a child may go on writing to the pipe
            while left > 0 and self._pump_output(fd):
                left -= protocol.CHUNK
        code = os.waitstatus_to_exitcode(status)
        self._events.send(protocol.EXIT, self.ident, protocol.STATUS.pack(
            code if code >= 0 else 128 - code, oom))
        self.close()

    def close(self) -> None:
        for fd in list(self._outputs):
            self._close_output(fd)
        if self._stdin >= 0:
            self._events.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
        if self._console:
            self._console.close()
            self._console = None


def _become(program: Callable[[], NoReturn], ends: list[int]) -> NoReturn:
    try:
        for number, fd in enumerate(ends):
            os.dup2(fd, number)
        program()
    finally:
        os._exit(1)  # never return to the agent's loop
