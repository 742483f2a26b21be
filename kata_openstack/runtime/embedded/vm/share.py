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

``<sandbox>/mounts/<container>/rootfs`` holds a container's root file
system, ``.../m<n>`` its bind mounts. The folder is a shared mount, so that
what is mounted in it later reaches virtiofsd's own mount namespace.

The guest is hostile, and virtiofsd is root. So it gets ``<sandbox>/share``,
a view of the folder that is read-only but for what is mounted in it: where
we make mount points, and remove them, the guest can plant nothing.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import errno
import os
import re
import socket
from typing import Any

from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.vm import launch

# Nothing of a tenant's is ever run on the host
_GUARDS = (syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
_FLAGS = {
    'ro': syscalls.MS_RDONLY, 'rw': 0, 'bind': syscalls.MS_BIND,
    'rbind': syscalls.MS_BIND | syscalls.MS_REC,
    'noatime': syscalls.MS_NOATIME, 'nosuid': syscalls.MS_NOSUID,
    'nodev': syscalls.MS_NODEV, 'noexec': syscalls.MS_NOEXEC,
    'rprivate': 0, 'private': 0, 'suid': 0, 'dev': 0, 'exec': 0}
_PATHS = ('lowerdir', 'upperdir', 'workdir')
_PAGE = 4096  # bytes


class Share:
    """:param folder: the sandbox's folder."""

    def __init__(self, folder: str) -> None:
        self.path = f'{folder}/share'
        self._mounts = f'{folder}/mounts'
        self._stage = f'{folder}/stage'

    def create(self) -> None:
        for folder in (self._mounts, self.path, self._stage):
            os.mkdir(folder, 0o700)
        syscalls.mount(self._mounts, self._mounts, flags=syscalls.MS_BIND)
        syscalls.mount('', self._mounts, flags=syscalls.MS_SHARED)
        syscalls.mount(self._mounts, self.path, flags=syscalls.MS_BIND)
        syscalls.mount('', self.path, flags=syscalls.MS_REMOUNT
                       | syscalls.MS_BIND | syscalls.MS_RDONLY | _GUARDS)
        # a mount can be moved away only from where it is private
        syscalls.mount(self._stage, self._stage, flags=syscalls.MS_BIND)
        syscalls.mount('', self._stage, flags=syscalls.MS_PRIVATE)

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
        target = f'{self._mounts}/{container}/rootfs'
        os.makedirs(target)
        for item in mounts:
            self._mount(item['type'], item['source'], target,
                        item['options'])

    def add_bind(self, container: str, number: int, source: str,
                 readonly: bool) -> str:
        """Share a file or a folder; return its name in the container's."""
        name = f'm{number}'
        target = f'{self._mounts}/{container}/{name}'
        _mount_point(target, source)
        self._mount('', source, target,
                    ['rbind', *(['ro'] if readonly else [])])
        return name

    def _mount(self, kind: str, source: str, target: str,
               options: Iterable[str]) -> None:
        """With all its flags from the first moment that virtiofsd sees it.

        A bind mount gets them only by a second call, which would not reach
        the copy that virtiofsd has by then. So it is made elsewhere.
        """
        flags, data = _parse(options)
        if not flags & syscalls.MS_BIND:
            folder, data = _compact(data)
            os.chdir(folder)
            try:
                syscalls.mount(source, target, kind, flags | _GUARDS,
                               ','.join(data))
            finally:
                os.chdir('/')
            return
        stage = f'{self._stage}/{os.path.basename(target)}'
        _mount_point(stage, source)
        try:
            syscalls.mount(source, stage, kind, flags, ','.join(data))
            # what is mounted on a private mount takes after its source
            syscalls.mount('', stage, flags=syscalls.MS_REC
                           | syscalls.MS_PRIVATE)
            syscalls.mount('', stage, flags=_GUARDS | syscalls.MS_REMOUNT
                           | syscalls.MS_BIND | flags & syscalls.MS_RDONLY)
            syscalls.mount(stage, target, flags=syscalls.MS_MOVE)
        finally:
            _unmount_below(stage)
            _remove(stage)

    def remove_container(self, container: str) -> None:
        """Unmount and remove; does nothing when it is not there."""
        folder = f'{self._mounts}/{container}'
        _unmount_below(folder)
        _remove_tree(folder)

    def remove(self) -> None:
        """Unmount all. The folders are empty then, and left."""
        for folder in (self._stage, self._mounts, self.path):
            _unmount_below(folder)


def _confine() -> None:
    """virtiofsd itself adds mount, PID and network namespaces, a root in
    the share, and a seccomp filter."""
    syscalls.unshare(syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    syscalls.no_new_privileges()


def _parse(options: Iterable[str]) -> tuple[int, list[str]]:
    """Flags of mount(2), and what is left for the file system."""
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        else:
            data.append(option)
    return flags, data


def _compact(data: list[str]) -> tuple[str, list[str]]:
    """An overlay's options, short enough for many layers.

    mount(2) takes one page of them and cuts off the rest without a word; so
    paths are given relative to the folder that all of them are in.

    :returns: that folder, to be the current one, and the options.
    :raises OSError: they are too long even so.
    """
    paths = {key: value.split(':') for key, _, value in
             (option.partition('=') for option in data) if key in _PATHS}
    found = [path for several in paths.values() for path in several]
    folder = (os.path.commonpath(found)
              if found and all(map(os.path.isabs, found)) else '/')
    if folder != '/':
        data = [option for option in data
                if option.partition('=')[0] not in paths]
        data += [f'{key}=' + ':'.join(os.path.relpath(p, folder)
                                      for p in several)
                 for key, several in paths.items()]
    if len(','.join(data)) >= _PAGE:
        raise OSError(errno.E2BIG, 'the image has too many layers')
    return folder, data


def _mount_point(path: str, source: str) -> None:
    """Make a folder or a file, as ``source`` is one."""
    if os.path.isdir(source):
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _remove(path: str) -> None:
    if os.path.isdir(path):
        os.rmdir(path)
    else:
        os.unlink(path)


def mounts_below(folder: str) -> list[str]:
    """Mount points at or below ``folder``, innermost first."""
    found = []
    # the names of others need not be UTF-8
    with open('/proc/self/mountinfo', errors='surrogateescape') as file:
        for line in file:
            point = re.sub(r'\\([0-7]{3})', lambda m: chr(int(m[1], 8)),
                           line.split(' ')[4])
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
