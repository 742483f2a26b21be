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

"""Processes of the stack: detached, identified by PID and start time."""

import dataclasses
import os
import pathlib
import shlex
import signal
import subprocess
import time

from tools.quickstart import settings


@dataclasses.dataclass(frozen=True)
class Process:
    """A process, identified by PID and start time.

    The kernel reuses PIDs. The start time (clock ticks after boot, field 22
    of /proc/PID/stat) tells the processes apart.
    """

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def send(self, number: int) -> None:
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass


def start_time(pid: int) -> int | None:
    """Clock ticks after boot; None if the process is gone or a zombie."""
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the name, in parentheses, may contain spaces and parentheses
    fields = text.rpartition(')')[2].split()
    return None if fields[0] in 'ZX' else int(fields[19])


def identify(pid: int) -> Process | None:
    started = start_time(pid)
    return None if started is None else Process(pid, started)


def pid_file(stack: settings.Stack, name: str) -> pathlib.Path:
    return stack.run / f'{name}.pid'


def find(stack: settings.Stack, name: str) -> Process | None:
    """The running process of a service, or None."""
    try:
        pid, started = pid_file(stack, name).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    process = Process(int(pid), int(started))
    return process if process.alive else None


def start(stack: settings.Stack, name: str, command: list[str],
          extra_environment: dict[str, str]) -> Process:
    """Start a service in a new session, so that no terminal can end it.

    :raises QuickstartError: if it exits at once.
    """
    log = stack.logs / f'{name}.log'
    with open(log, 'ab') as out:
        os.chmod(log, 0o600)
        # this program exits soon, then init adopts the service
        child = subprocess.Popen(
            command, cwd=stack.state, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True,
            env=stack.environment() | extra_environment)
    process = identify(child.pid)
    if process is None:
        raise settings.QuickstartError(
            f'{name} exited at once:\n{log_tail(stack, name)}')
    settings.write_private(pid_file(stack, name),
                           f'{process.pid} {process.started}\n')
    return process


def end(processes: list[Process], grace: float = 10) -> None:
    """Send SIGTERM, and SIGKILL if any process runs after ``grace`` s."""
    for process in processes:
        process.send(signal.SIGTERM)
    if not wait_gone(processes, grace):
        for process in processes:
            process.send(signal.SIGKILL)
        wait_gone(processes, 5)


def wait_gone(processes: list[Process], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(process.alive for process in processes):
        if time.monotonic() > deadline:
            return False
        _reap()
        time.sleep(0.05)
    return True


def _reap() -> None:
    """Reap zombies of services that this process started itself."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def descendants(process: Process,
                same_session: bool = False) -> list[Process]:
    """Current children of a process, and their children.

    :param same_session: omit processes that started their own session, as
        the shims below containerd do.
    """
    children: dict[int, list[int]] = {}
    for entry in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            text = (entry / 'stat').read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parent = int(text.rpartition(')')[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [process.pid]
    while todo:
        for pid in children.get(todo.pop(), []):
            todo.append(pid)
            child = identify(pid)
            if child and (not same_session
                          or _session(pid) == process.pid):
                found.append(child)
    return found


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def of_stack(stack: settings.Stack) -> list[Process]:
    """All processes that descend from the stack's services.

    They have the marker in their initial environment, which survives a
    rename and a double fork. A runtime starts the hypervisor in its jail
    without the marker; its parent or its arguments identify it.
    """
    marker = f'{settings.MARKER}={stack.state}'.encode()
    below = f'{stack.state}/'
    found = {}
    for entry in pathlib.Path('/proc').glob('[0-9]*'):
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        try:
            ours = (
                marker in (entry / 'environ').read_bytes().split(b'\0')
                or (below.encode() in (entry / 'cmdline').read_bytes()
                    and (entry / 'comm').read_text().startswith(
                        ('qemu', 'virtiofsd', 'containerd-shim'))))
        except OSError:
            continue
        process = identify(pid) if ours else None
        if process:
            found[pid] = process
            found |= {child.pid: child for child in descendants(process)}
    found.pop(os.getpid(), None)
    return list(found.values())


def memory_mib(process: Process) -> float:
    """Proportional set size of a process and its workers, in MiB.

    Pages that they share are counted once.
    """
    total = 0
    for member in [process, *descendants(process, same_session=True)]:
        try:
            text = pathlib.Path(
                f'/proc/{member.pid}/smaps_rollup').read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith('Pss:'):
                total += int(line.split()[1])
    return total / 1024


def log_tail(stack: settings.Stack, name: str, lines: int = 15) -> str:
    path = stack.logs / f'{name}.log'
    if not path.exists():
        return ''
    tail = path.read_text(errors='replace').splitlines()[-lines:]
    return '\n'.join([*('    ' + line for line in tail), f'  ({path})'])


def run(stack: settings.Stack, command: list[str], log: str,
        environment: dict[str, str] | None = None,
        timeout: float = 300) -> str:
    """Run a command, append its output to a log and return it.

    :param timeout: in seconds.
    :raises QuickstartError: if the command fails.
    """
    done = subprocess.run(
        command, cwd=stack.state, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors='replace', timeout=timeout,
        env=stack.environment() | (environment or {}))
    with open(stack.logs / f'{log}.log', 'a') as out:
        out.write(done.stdout)
    if done.returncode:
        tail = '\n'.join('    ' + line
                         for line in done.stdout.splitlines()[-15:])
        raise settings.QuickstartError(
            f'{shlex.join(command)} failed with exit code '
            f'{done.returncode}:\n{tail}')
    return done.stdout
