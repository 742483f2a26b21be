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

"""Starts a helper process of a sandbox, confined, without a shell."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import os
import resource
import signal

from kata_openstack.runtime.embedded.common import syscalls

_OOM_SCORE = '/proc/self/oom_score_adj'


class LaunchFailed(Exception):
    """The program could not be started; says why."""


def spawn(argv: Sequence[str], *, fds: Iterable[int], log: str,
          confine: Callable[[], None]) -> int:
    """Start ``argv``; it dies with the thread that calls this.

    :param fds: kept open in the child, under the same numbers.
    :param log: file that gets its output.
    :param confine: run in the child, before ``argv``.
    :returns: the pid, once the program has replaced the child.
    :raises LaunchFailed:
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become(argv, fds, log, confine, parent)
        except BaseException as e:
            os.write(writer, f'{argv[0]}: {e}'.encode()[:1000])
        finally:
            os._exit(127)
    os.close(writer)
    with os.fdopen(reader, 'rb') as report:
        problem = report.read()
    if problem:
        os.waitpid(pid, 0)
        raise LaunchFailed(problem.decode(errors='replace'))
    return pid


def _become(argv: Sequence[str], fds: Iterable[int], log: str,
            confine: Callable[[], None], parent: int) -> None:
    os.setsid()
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for fd in fds:
        os.set_inheritable(fd, True)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM,
                   signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    # a core file would hold what is a tenant's
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _be_expendable()
    confine()
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        raise RuntimeError('the shim is gone')
    os.execve(  # noqa: S606 - a shell is what we do not want
        argv[0], list(argv), {'PATH': '/usr/sbin:/usr/bin'})


def _be_expendable() -> None:
    """Let the kernel kill this process when the node is out of memory.

    containerd's unit protects containerd, and all that it starts inherits
    that: the node's own services would have to end before a tenant's VM.
    """
    try:
        with open(_OOM_SCORE) as file:
            protected = int(file.read()) < 0
        if protected:
            with open(_OOM_SCORE, 'w') as file:
                file.write('0')
    except OSError:
        pass  # not ours to change; it runs all the same
