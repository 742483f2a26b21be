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

"""Start a confined helper process of a sandbox, without a shell."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import os
import resource
import signal

from kata_openstack.runtime.embedded.common import syscalls

_OOM_SCORE = '/proc/self/oom_score_adj'


class LaunchFailed(Exception):
    """The program could not be started. The text says why."""


def spawn(argv: Sequence[str], *, fds: Iterable[int], log: str,
          confine: Callable[[], None]) -> int:
    """Start ``argv``. The kernel kills it when the calling thread ends.

    :param fds: stay open in the child, with the same numbers.
    :param log: file for the output.
    :param confine: called in the child before ``argv`` starts.
    :returns: the pid, after the program has replaced the child.
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
    # a core file would hold a tenant's memory
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _be_expendable()
    confine()
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        raise RuntimeError('the shim has ended')
    os.execve(  # noqa: S606 - a shell is not wanted
        argv[0], list(argv), {'PATH': '/usr/sbin:/usr/bin'})


def _be_expendable() -> None:
    """Give up containerd's protection from the OOM killer.

    containerd's unit has a negative oom_score_adj, and its children inherit
    it. With it, the kernel would kill the node's own services before a
    tenant's VM.
    """
    try:
        with open(_OOM_SCORE) as file:
            protected = int(file.read()) < 0
        if protected:
            with open(_OOM_SCORE, 'w') as file:
                file.write('0')
    except OSError:
        pass  # not permitted: the program runs with the old score
