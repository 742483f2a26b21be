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

"""Start a virtiofsd, which only one QEMU can use."""

import os
import socket

from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.virtiofs import file_limit
from kata_openstack.runtime.embedded.vm import launch


def start(program: list[str], source: str, cache: str, folder: str,
          log: str) -> tuple[int, socket.socket]:
    """Start virtiofsd; return its pid and a socket connected to it.

    :param program: the program, and options that it may have.
    :param source: the folder that it serves.
    :param cache: what the guest may keep, see virtiofsd's option.
    :param folder: only root can enter it.
    :param log: file for the output.
    :raises OSError, launch.LaunchFailed:
    """
    listener, connection = connected(folder)
    try:
        with listener:
            pid = launch.spawn(
                [*program, f'--fd={listener.fileno()}',
                 '-o', f'source={source}',
                 '-o', f'cache={cache},sandbox=namespace,xattr',
                 '--rlimit-nofile=0', '-f'],  # 0: keep that of _confine
                fds=[listener.fileno()], log=log, confine=_confine)
    except BaseException:
        connection.close()
        raise
    return pid, connection


def connected(folder: str) -> tuple[socket.socket, socket.socket]:
    """Return a listener with its only client, already connected.

    The listener is in a folder which only root can enter, and its file is
    gone before virtiofsd starts. So no other process can be the first
    client, which virtiofsd obeys.
    """
    number = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    # the folder's own path may be too long for a socket
    path = f'/proc/self/fd/{number}/virtiofsd'
    listener = socket.socket(socket.AF_UNIX)
    connection = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        listener.listen(1)
        connection.connect(path)
        os.unlink(path)
    except OSError:
        listener.close()
        connection.close()
        raise
    finally:
        os.close(number)
    return listener, connection


def _confine() -> None:
    """Confine virtiofsd, in addition to its own measures.

    virtiofsd itself adds mount, PID and network namespaces, a root in the
    share, and a seccomp filter.
    """
    syscalls.unshare(syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    syscalls.no_new_privileges()
    file_limit.raise_limit()
