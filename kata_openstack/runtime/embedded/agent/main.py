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

"""The guest agent: PID 1 of the VM.

One thread runs one poll loop. The shim calls the methods ``_do_*`` with
JSON objects, and assigns the numbers of the processes.
"""

import base64
from collections.abc import Callable
import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import Any

from kata_openstack.runtime.embedded.agent import crun
from kata_openstack.runtime.embedded.agent import footprint
from kata_openstack.runtime.embedded.agent import guest_archive
from kata_openstack.runtime.embedded.agent import guest_ps
from kata_openstack.runtime.embedded.agent import process
from kata_openstack.runtime.embedded.agent import system
from kata_openstack.runtime.embedded.common import protocol

_FOLDERS = '/run/k'  # short: a console socket's path is limited
_MAX_ERROR = 2000
_MAX_LOG = 900  # of the kernel's limit for one record
_LISTED = 40 * 1024  # characters of processes in one frame
_PAUSE = 0.02  # seconds, instead of a loop that spins


class Refused(Exception):
    """A call failed. The user sees the text."""


class Agent:
    """The agent's event loop and calls. Implements process.Events."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._out = bytearray()
        self._decoder = protocol.Decoder(protocol.MAX_FROM_HOST)
        self._poll = select.poll()
        self._processes: dict[int, process.Process] = {}
        self._watched: dict[int, process.Process] = {}
        self._commands: dict[int, tuple[int, str]] = {}  # pid: (call, log)
        self._starting: dict[int, int] = {}  # process: call
        self._reaped: dict[int, int] = {}  # pid: status, see _on_reaped
        self._oom_watch: dict[int, str] = {}  # fd of memory.events
        self._oom_seen: dict[str, int] = {}
        self._victims: dict[str, int] = {}  # copies that the kernel killed
        self._dropping: set[int] = set()  # calls that drop caches
        wake, wake_writer = os.pipe()
        for fd in (wake, wake_writer):
            os.set_blocking(fd, False)
        self._wake = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        os.makedirs(_FOLDERS, mode=0o700, exist_ok=True)

    # The loop

    def run(self) -> None:
        self._poll.register(self._port, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        self.send(protocol.READY, 0)
        while True:
            for fd, mask in self._poll.poll():
                self._guard(self._on_ready, fd, mask)

    def _guard(self, handler: Callable[..., None], *arguments: Any) -> None:
        """Log the error of a handler and go on: if PID 1 ends, the VM does.

        A stream from the shim without its frames cannot be read any more, so
        that error does end the VM, and the shim learns of it.
        """
        try:
            handler(*arguments)
        except protocol.ProtocolError:
            raise
        except Exception as e:
            _log(f'{handler.__name__}: {type(e).__name__}: {e}')
            select.select([], [], [], _PAUSE)  # the cause may last

    def _on_ready(self, fd: int, mask: int) -> None:
        if fd == self._port:
            self._on_port(mask)
        elif fd == self._wake:
            os.read(self._wake, 4096)
            self._reap()
        elif fd in self._oom_watch:
            self._on_memory_event(fd)
        elif fd in self._watched:
            self._watched[fd].ready(fd, mask)

    def _on_port(self, mask: int) -> None:
        if mask & select.POLLOUT:
            self.flush()
        if mask & select.POLLIN:
            try:
                data = os.read(self._port, 256 * 1024)
            except BlockingIOError:
                data = b''
            for kind, ident, payload in self._decoder.feed(data):
                self._guard(self._on_frame, kind, ident, payload)
        elif mask & select.POLLHUP:
            # no shim: the VM is being saved or about to end; do not spin
            select.select([], [], [], _PAUSE)

    def watch(self, fd: int, mask: int, owner: process.Process) -> None:
        self._watched[fd] = owner
        self._poll.register(fd, mask)

    def forget(self, fd: int) -> None:
        if self._watched.pop(fd, None):
            self._poll.unregister(fd)

    def send(self, kind: int, ident: int, payload: bytes = b'') -> None:
        self._out += protocol.frame(kind, ident, payload)
        self.flush()

    def flush(self) -> None:
        mask = select.POLLIN
        try:
            while self._out:
                del self._out[:os.write(self._port, self._out[:32768])]
        except BlockingIOError:
            mask |= select.POLLOUT
        self._poll.modify(self._port, mask)

    # Frames

    def _on_frame(self, kind: int, ident: int, payload: bytes) -> None:
        if kind == protocol.CALL:
            self._on_call(ident, json.loads(payload))
            return
        target = self._processes.get(ident)
        if target is None:
            return  # it ended while the frame was in transit
        if kind == protocol.STDIN:
            target.feed(payload)
        elif kind == protocol.STDIN_EOF:
            target.end_stdin()
        elif kind == protocol.ACK:
            target.acknowledge(*protocol.COUNT.unpack(payload))

    def _on_call(self, ident: int, call: dict[str, Any]) -> None:
        method: Callable[..., Any] = getattr(self, '_do_' + call.pop('do'))
        try:
            answer = method(ident, **call)
        except Exception as e:  # if PID 1 ends, the VM does
            self._reply(ident, error=f'{e}' or type(e).__name__)
        else:
            if answer is not None:  # otherwise the method replies later
                self._reply(ident, **answer)

    def _reply(self, ident: int, **answer: Any) -> None:
        self.send(protocol.REPLY, ident, json.dumps(answer).encode())

    # Calls about the VM

    def _do_ping(self, call: int) -> dict[str, Any]:
        return {'kernel': os.uname().release}

    def _do_wake(self, call: int, now: float, entropy: str,
                 hostname: str, sysctls: dict[str, str],
                 interfaces: list[dict[str, Any]]) -> dict[str, Any]:
        system.wake(now, base64.b64decode(entropy))
        system.find_devices()
        system.mount_share(system.SHARE)
        if hostname:
            system.set_hostname(hostname)
        system.set_up_network(interfaces)
        system.set_sysctls(sysctls)
        return {'kernel': os.uname().release}

    def _do_mount_live(self, call: int) -> dict[str, Any]:
        system.find_devices()
        system.mount_share(system.LIVE)
        return {}

    def _do_clock(self, call: int) -> dict[str, Any]:
        return {'now': time.time()}

    def _do_set_clock(self, call: int, forward: float, rate: int
                      ) -> dict[str, Any]:
        system.set_clock(forward, rate)
        return {}

    def _do_drop_caches(self, call: int) -> dict[str, Any]:
        system.drop_caches()
        return {}

    # Calls about containers and processes

    def _do_run(self, call: int, ident: int, container: str,
                config: dict[str, Any], terminal: bool,
                stdin: bool, size: list[int]) -> None:
        folder = self._folder(ident)
        with open(f'{folder}/config.json', 'w') as file:
            file.write(json.dumps(config))
        self._start(call, process.Process(
            self, ident, container, folder, terminal, True),
            crun.run_command(container, folder, terminal), stdin, size)

    def _do_exec(self, call: int, ident: int, container: str,
                 process_spec: dict[str, Any], terminal: bool,
                 stdin: bool, size: list[int]) -> None:
        folder = self._folder(ident)
        with open(f'{folder}/process.json', 'w') as file:
            file.write(json.dumps(process_spec))
        self._start(call, process.Process(
            self, ident, container, folder, terminal, False),
            crun.exec_command(container, folder, terminal), stdin, size)

    def _do_archive(self, call: int, ident: int, container: str,
                    order: dict[str, Any]) -> dict[str, Any]:
        first = next((one.pid for one in self._processes.values()
                      if one.first and one.pid
                      and one.container == container), 0)
        if not first:
            raise Refused('the container does not run')
        new = process.Process(self, ident, container, '', False, False)
        self._processes[ident] = new
        try:
            new.fork(lambda: guest_archive.run(first, order), order['put'])
        except OSError:
            self._remove(new)
            raise
        return {}

    def _folder(self, ident: int) -> str:
        folder = f'{_FOLDERS}/{ident}'
        os.mkdir(folder, 0o700)
        return folder

    def _start(self, call: int, new: process.Process, argv: list[str],
               stdin: bool, size: list[int]) -> None:
        new.size = (size[0], size[1])
        new.spawn(argv, stdin)
        self._processes[new.ident] = new
        self._starting[new.ident] = call

    def _do_kill(self, call: int, ident: int, number: int,
                 everyone: bool) -> dict[str, Any]:
        target = self._processes.get(ident)
        if target is None or not target.pid:
            raise Refused('process already finished')
        if everyone:
            crun.kill_all(target.container, number)
        else:
            os.kill(target.pid, number)
        if number == signal.SIGKILL:
            for one in self._processes.values():
                if one is target or (
                        everyone and one.container == target.container):
                    one.aborted = True
        return {}

    def _do_resize(self, call: int, ident: int, rows: int,
                   columns: int) -> dict[str, Any]:
        target = self._processes.get(ident)
        if target:
            target.resize(rows, columns)
        return {}

    def _do_stats(self, call: int, container: str) -> dict[str, Any]:
        return crun.stats(container)

    def _do_processes(self, call: int, container: str,
                      after: int) -> dict[str, Any]:
        return guest_ps.read(crun.cgroup(container), after, _LISTED)

    def _do_freeze(self, call: int, container: str,
                   frozen: bool) -> dict[str, Any]:
        crun.freeze(container, frozen)
        return {}

    def _do_update(self, call: int, container: str,
                   resources: dict[str, Any]) -> None:
        folder = f'{_FOLDERS}/u{call}'
        os.mkdir(folder, 0o700)
        with open(f'{folder}/resources.json', 'w') as file:
            file.write(json.dumps(resources))
        self._command(call, crun.update_command(
            container, f'{folder}/resources.json', folder), folder)

    def _do_delete(self, call: int, container: str) -> None:
        fd = next((fd for fd, name in self._oom_watch.items()
                   if name == container), -1)
        if fd >= 0:
            self._forget_memory_events(fd)
        self._command(call, crun.delete_command(container), '')
        self._dropping.add(call)

    def _command(self, call: int, argv: list[str], folder: str) -> None:
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0)
                for fd in range(3)]
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=null)
        self._commands[pid] = (call, folder)

    # Children that have ended

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._guard(self._on_reaped, pid, status)

    def _on_reaped(self, pid: int, status: int) -> None:
        if pid in self._commands:
            call, folder = self._commands.pop(pid)
            self._on_command_ended(call, folder, status)
            return
        for candidate in self._processes.values():
            if pid == candidate.pid:
                self._on_process_ended(candidate, status)
                return
            if pid == candidate.starter:
                self._on_started(candidate, status)
                return
        if self._starting:  # a process may end before its crun does
            self._reaped[pid] = status

    def _on_started(self, new: process.Process, status: int) -> None:
        call = self._starting.pop(new.ident)
        try:
            if status:
                raise Refused(_log_text(new.folder, status))
            new.started()
        except Exception as e:  # without an answer, the shim ends the VM
            self._reply(call, error=f'{e}' or type(e).__name__)
            if new.pid:
                os.kill(new.pid, signal.SIGKILL)
            self._remove(new)
        else:
            self._reply(call, pid=new.pid)
            if new.first:
                self._watch_memory_events(new.container)
            if new.pid in self._reaped:
                self._on_process_ended(new, self._reaped[new.pid])
        if not self._starting:
            self._reaped.clear()

    def _on_process_ended(self, ended: process.Process,
                          status: int) -> None:
        if ended.copy and status == signal.SIGKILL and not ended.aborted:
            # probably for lack of memory, but the container goes on
            self._victims[ended.container] = (
                self._victims.get(ended.container, 0) + 1)
        oom = ended.first and (crun.oom_kills(ended.container)
                               > self._victims.pop(ended.container, 0))
        ended.ended(status, oom)
        self._remove(ended)

    def _remove(self, gone: process.Process) -> None:
        gone.close()
        self._processes.pop(gone.ident, None)
        system.remove(gone.folder)

    def _on_command_ended(self, call: int, folder: str,
                          status: int) -> None:
        if call in self._dropping:
            self._dropping.discard(call)
            system.drop_caches()
        if status and folder:
            self._reply(call, error=_log_text(folder, status))
        else:
            self._reply(call)
        if folder:
            system.remove(folder)

    # Out of memory

    def _watch_memory_events(self, container: str) -> None:
        try:
            fd = os.open(f'{crun.cgroup(container)}/memory.events',
                         os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        os.read(fd, 4096)  # a change since this read is what counts
        self._oom_watch[fd] = container
        self._oom_seen[container] = 0
        self._poll.register(fd, select.POLLPRI)

    def _on_memory_event(self, fd: int) -> None:
        container = self._oom_watch[fd]
        try:
            os.pread(fd, 4096, 0)
            kills = crun.oom_kills(container)
        except OSError:  # the cgroup was removed
            self._forget_memory_events(fd)
            return
        if kills > self._oom_seen[container]:
            self._oom_seen[container] = kills
            self.send(protocol.OOM, 0, container.encode())

    def _forget_memory_events(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._oom_seen.pop(self._oom_watch.pop(fd), None)
        os.close(fd)


def _log(text: str) -> None:
    """Write to the kernel's log, which is the agent's fd 2."""
    try:
        os.write(2, f'agent: {text}'.encode(errors='replace')[:_MAX_LOG])
    except OSError:
        pass  # nobody reads it, so nothing is lost


def _log_text(folder: str, status: int) -> str:
    try:
        text = system.read(f'{folder}/log').strip()
    except OSError:
        text = ''
    return text[-_MAX_ERROR:] or f'crun ended with status {status}'


def main() -> None:
    # first, so that what follows uses the memory that becomes free
    footprint.remove_loaded(list(sys.modules.values()))
    system.bring_up()
    crun.seal()
    port = system.open_port()
    fcntl.fcntl(port, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    footprint.clear_free()
    Agent(port).run()
