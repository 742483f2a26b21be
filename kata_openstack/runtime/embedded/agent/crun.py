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

"""crun's command lines, and control of its containers' cgroups."""

import fcntl
import os
import signal
from typing import Any

from kata_openstack.runtime.embedded.agent import system
from kata_openstack.runtime.embedded.common import figures

CRUN = '/usr/bin/crun'
SEALS = (fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
         | fcntl.F_SEAL_WRITE)
_OPTIONS = ['--cgroup-manager=cgroupfs', '--root=/run/crun']

_program = CRUN


def seal(path: str = CRUN) -> None:
    """Move crun into a sealed file in memory, and run it from there.

    No container may change crun (CVE-2019-5736). So, at each start, crun
    mounts itself read-only and executes itself again, unless its file has
    these seals (its src/libcrun/cloned_binary.c).

    :param path: of crun; the file is removed.
    :raises OSError:
    """
    global _program
    sealed = os.memfd_create('crun', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(path, 'rb') as program:
        while os.sendfile(sealed, program.fileno(), None, 1 << 20):
            pass
    os.fchmod(sealed, 0o500)
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, SEALS)
    # the kernel does not execute a file that is open for writing
    readable = os.open(f'/proc/self/fd/{sealed}', os.O_RDONLY | os.O_CLOEXEC)
    os.close(sealed)
    os.unlink(path)
    _program = f'/proc/self/fd/{readable}'


def run_command(container: str, folder: str, terminal: bool) -> list[str]:
    """Return the command that creates and starts a detached container.

    ``folder`` holds config.json and, for a terminal, the console socket
    ``tty``. crun writes the files ``pid`` and ``log`` there.
    """
    return [_program, *_OPTIONS, f'--log=file:{folder}/log', 'run', '--detach',
            '--bundle', folder, '--pid-file', f'{folder}/pid',
            *(['--console-socket', f'{folder}/tty'] if terminal else []),
            container]


def exec_command(container: str, folder: str, terminal: bool) -> list[str]:
    """Return the command that adds a detached process to a container.

    ``folder`` holds process.json; the rest is as for run_command.
    """
    return [_program, *_OPTIONS, f'--log=file:{folder}/log', 'exec', '--detach',
            '--process', f'{folder}/process.json',
            '--pid-file', f'{folder}/pid',
            *(['--console-socket', f'{folder}/tty'] if terminal else []),
            container]


def update_command(container: str, resources: str,
                   folder: str) -> list[str]:
    return [_program, *_OPTIONS, f'--log=file:{folder}/log', 'update',
            '--resources', resources, container]


def delete_command(container: str) -> list[str]:
    return [_program, *_OPTIONS, 'delete', '--force', container]


def cgroup(container: str) -> str:
    """Return the folder of the cgroup in which the shim puts a container."""
    return f'{system.CGROUPS}{system.CONTAINERS}/{container}'


def kill_all(container: str, number: int) -> None:
    if number == signal.SIGKILL:
        system.write(f'{cgroup(container)}/cgroup.kill', '1')
        return
    for folder, _, _ in os.walk(cgroup(container)):
        for pid in system.read(f'{folder}/cgroup.procs').split():
            try:
                os.kill(int(pid), number)
            except ProcessLookupError:
                pass


def freeze(container: str, frozen: bool) -> None:
    system.write(f'{cgroup(container)}/cgroup.freeze', str(int(frozen)))


def oom_kills(container: str) -> int:
    try:
        return figures.table(system.read(
            f'{cgroup(container)}/memory.events'))['oom_kill']
    except (OSError, KeyError):
        return 0


def stats(container: str) -> dict[str, Any]:
    """Return cgroup v2's raw figures by file; -1 stands for ``max``."""
    return figures.read(cgroup(container))
