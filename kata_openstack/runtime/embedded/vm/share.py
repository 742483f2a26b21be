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

"""What a sandbox shares with its VM: one folder, through virtiofsd.

``<sandbox>/share/<container>/rootfs`` holds a container's root file
system, ``.../m<n>`` its bind mounts. The folder is a shared mount, so that
what is mounted in it later reaches virtiofsd's own mount namespace.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import os
import socket
from typing import Any

from kata_openstack.runtime.embedded import syscalls
from kata_openstack.runtime.embedded.vm import launch

# Nothing of a tenant's is ever run on the host
_GUARDS = (syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
_FLAGS = {
    'ro': syscalls.MS_RDONLY, 'rw': 0, 'bind': syscalls.MS_BIND,
    'rbind': syscalls.MS_BIND | syscalls.MS_REC,
    'noatime': syscalls.MS_NOATIME, 'nosuid': syscalls.MS_NOSUID,
    'nodev': syscalls.MS_NODEV, 'noexec': syscalls.MS_NOEXEC,
    'rprivate': 0, 'private': 0, 'suid': 0, 'dev': 0, 'exec': 0}


class Share:
    """:param folder: the sandbox's folder."""

    def __init__(self, folder: str) -> None:
        self.path = f'{folder}/share'

    def create(self) -> None:
        os.mkdir(self.path, 0o700)
        syscalls.mount(self.path, self.path, flags=syscalls.MS_BIND)
        syscalls.mount('', self.path, flags=syscalls.MS_SHARED)

    def serve(self, program: str, log: str) -> tuple[int, socket.socket]:
        """Start virtiofsd; return its pid and a socket connected to it.

        ``cache=always``: only the guest changes what it sees, and with
        ``auto`` an emulated guest is several times slower.
        """
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(b'')  # an abstract name that the kernel chooses
            listener.listen(1)
            pid = launch.spawn(
                [program, f'--fd={listener.fileno()}',
                 '-o', f'source={self.path}',
                 '-o', 'cache=always,sandbox=namespace,xattr', '-f'],
                fds=[listener.fileno()], log=log, confine=_confine)
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(listener.getsockname())
        return pid, connection

    def add_rootfs(self, container: str,
                   mounts: Iterable[Mapping[str, Any]]) -> None:
        """:param mounts: containerd's: type, source, options."""
        target = f'{self.path}/{container}/rootfs'
        os.makedirs(target)
        for item in mounts:
            _mount(item['type'], item['source'], target, item['options'])

    def add_bind(self, container: str, number: int, source: str,
                 readonly: bool) -> str:
        """Share a file or a folder; return its name in the container's."""
        name = f'm{number}'
        target = f'{self.path}/{container}/{name}'
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            open(target, 'w').close()
        _mount('', source, target, ['rbind', *(['ro'] if readonly else [])])
        return name

    def remove_container(self, container: str) -> None:
        """Unmount and remove; does nothing when it is not there."""
        folder = f'{self.path}/{container}'
        _unmount_below(folder)
        _remove_tree(folder)

    def remove(self) -> None:
        _unmount_below(self.path)
        if os.path.isdir(self.path):
            for name in os.listdir(self.path):
                _remove_tree(f'{self.path}/{name}')
            os.rmdir(self.path)


def _confine() -> None:
    """virtiofsd itself adds mount, PID and network namespaces, a root in
    the share, and a seccomp filter."""
    syscalls.unshare(syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    syscalls.no_new_privileges()


def _mount(kind: str, source: str, target: str,
           options: Iterable[str]) -> None:
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        else:
            data.append(option)
    if not flags & syscalls.MS_BIND:
        flags |= _GUARDS
    syscalls.mount(source, target, kind, flags, ','.join(data))
    if flags & syscalls.MS_BIND:  # its own flags need a second call
        syscalls.mount('', target, flags=_GUARDS | syscalls.MS_REMOUNT
                       | syscalls.MS_BIND | flags & syscalls.MS_RDONLY)


def mounts_below(folder: str) -> list[str]:
    """Mount points at or below ``folder``, innermost first."""
    found = []
    with open('/proc/self/mountinfo') as file:
        for line in file:
            point = line.split()[4].encode().decode('unicode_escape')
            if point == folder or point.startswith(folder + '/'):
                found.append(point)
    return found[::-1]


def _unmount_below(folder: str) -> None:
    for point in mounts_below(folder):
        try:
            syscalls.umount(point, syscalls.MNT_DETACH)
        except OSError:
            pass  # gone with the one above it


def _remove_tree(folder: str) -> None:
    """Remove what we made. Never follows, and never enters, a mount.

    Only empty folders and empty files are ours: anything else means that
    something is still mounted, and then it must not be touched.
    """
    if not os.path.isdir(folder):
        return
    for entry in os.scandir(folder):
        try:
            if entry.is_dir(follow_symlinks=False):
                os.rmdir(entry.path)
            elif entry.stat(follow_symlinks=False).st_size == 0:
                os.unlink(entry.path)
        except OSError:
            pass
    try:
        os.rmdir(folder)
    except OSError:
        pass
