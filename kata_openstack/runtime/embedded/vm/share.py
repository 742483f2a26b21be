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

"""The folders that a sandbox shares with its VM, each by a virtiofsd.

``<sandbox>/mounts/<container>/rootfs`` holds a container's root file
system, ``.../m<n>`` its copies of files, and ``<sandbox>/mounts/.volumes/<n>``
the volumes that only its containers change. Files that others change too are
in ``<sandbox>/live/mounts/.volumes/<n>``, the live share, which a sandbox has
only if one of its containers needs it. ``mounts`` is a shared mount, so that
later mounts in it reach virtiofsd's own mount namespace.

The guest may be hostile, and virtiofsd runs as root. So virtiofsd serves
``share``, a read-only bind mount of the folder ``mounts`` beside it. Only the
file systems that are mounted in it are writable: the guest can plant no file
or link where the shim creates and removes mount points.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import contextlib
import errno
import os
import socket
from typing import Any
from typing import NamedTuple

from kata_openstack.runtime.embedded.agent import system
from kata_openstack.runtime.embedded.common import mounts
from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.virtiofs import server

# The host never runs a tenant's programs or opens a tenant's device nodes
_GUARDS = (syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
_FLAGS = {
    'ro': syscalls.MS_RDONLY, 'rw': 0, 'bind': syscalls.MS_BIND,
    'rbind': syscalls.MS_BIND | syscalls.MS_REC,
    'noatime': syscalls.MS_NOATIME, 'nosuid': syscalls.MS_NOSUID,
    'nodev': syscalls.MS_NODEV, 'noexec': syscalls.MS_NOEXEC,
    'rprivate': 0, 'private': 0, 'suid': 0, 'dev': 0, 'exec': 0}
_PATHS = ('lowerdir', 'upperdir', 'workdir')
_VOLUMES = '.volumes'  # no container can have this ID
_PAGE = 4096  # bytes
_ROOM_TO_GROW = 1024 * 1024  # bytes


class _Source(NamedTuple):
    """What is mounted; the numbers tell files of one path apart."""

    path: str
    device: int
    inode: int
    readonly: bool


class _Volume(NamedTuple):
    """A mount in the share. ``users``: the containers that have it."""

    path: str
    users: set[str]


class Share:
    """A share of a sandbox. ``inside``: where the guest mounts it.

    With ``cache=always``, which assumes that only the guest changes the
    files, an emulated guest is several times faster than with ``auto``.

    :param folder: the sandbox's folder; its name is the sandbox's ID.
    :param live: whether others than the guest change the files too.
    """

    def __init__(self, folder: str, live: bool = False) -> None:
        self.sandbox = os.path.basename(folder)
        if live:
            folder += '/live'
        self.inside = system.LIVE if live else system.SHARE
        self._cache = 'auto' if live else 'always'
        self._folder = folder
        self.path = f'{folder}/share'
        self._mounts = f'{folder}/mounts'
        self._stage = f'{folder}/stage'
        self._created = False
        self._volumes: dict[_Source, _Volume] = {}
        self._last_volume = 0

    def create(self) -> None:
        """Make the folders and their mounts. Idempotent.

        :raises OSError: a mount failed; all mounts are undone.
        """
        if self._created:
            return
        for folder in (self._folder, self._mounts, self.path, self._stage,
                       f'{self._mounts}/{_VOLUMES}'):
            os.makedirs(folder, 0o700, exist_ok=True)
        try:
            self._mount_folders()
        except OSError:
            self.remove()
            raise
        self._created = True

    def _mount_folders(self) -> None:
        syscalls.mount(self._mounts, self._mounts, flags=syscalls.MS_BIND)
        syscalls.mount('', self._mounts, flags=syscalls.MS_SHARED)
        syscalls.mount(self._mounts, self.path, flags=syscalls.MS_BIND)
        syscalls.mount('', self.path, flags=syscalls.MS_REMOUNT
                       | syscalls.MS_BIND | syscalls.MS_RDONLY | _GUARDS)
        # MS_MOVE requires that the parent mount is not shared
        syscalls.mount(self._stage, self._stage, flags=syscalls.MS_BIND)
        syscalls.mount('', self._stage, flags=syscalls.MS_PRIVATE)

    def serve(self, virtiofsd: list[str],
              log: str) -> tuple[int, socket.socket]:
        """Start virtiofsd; return its pid and a socket connected to it.

        :param virtiofsd: the program, and options that it may have.
        :raises OSError, launch.LaunchFailed:
        """
        return server.start(virtiofsd, self.path, self._cache, self._folder,
                            log)

    def add_rootfs(self, container: str,
                   wanted: Iterable[Mapping[str, Any]]) -> None:
        """Mount a container's root file system.

        :param wanted: containerd's mounts, with type, source, options.
        :raises OSError: a mount failed.
        """
        target = f'{self._mounts}/{container}/rootfs'
        os.makedirs(target)
        for item in wanted:
            self._mount(item['type'], item['source'], target,
                        item['options'])

    def add_bind(self, container: str, source: str, readonly: bool) -> str:
        """Share a file or folder; return its path in the guest.

        virtiofsd gives a file another inode in each mount. So containers
        with the same source get the same mount: what one writes, the others
        see at once, and locks and sockets work between them.

        :raises OSError: the mount failed.
        """
        status = os.stat(source)
        self.create()
        key = _Source(os.path.realpath(source), status.st_dev, status.st_ino,
                      readonly)
        volume = self._volumes.get(key)
        if volume is None:
            self._last_volume += 1
            path = f'{_VOLUMES}/{self._last_volume}'
            target = f'{self._mounts}/{path}'
            _mount_point(target, source)
            try:
                self._mount('', source, target,
                            ['rbind', *(['ro'] if readonly else [])])
            except OSError:
                _remove(target)
                raise
            volume = self._volumes[key] = _Volume(path, set())
        volume.users.add(container)
        return f'{self.inside}/{volume.path}'

    def has(self, container: str) -> bool:
        """Return whether a container has a volume in the share."""
        return any(container in volume.users
                   for volume in self._volumes.values())

    def add_copy(self, container: str, number: int, source: str) -> str:
        """Share a copy of a file; return its path in the guest.

        The guest may write to the copy, but cannot fill the host's disk with
        it: the copy is on a tmpfs with little room.

        :raises OSError: the mount failed.
        """
        name = f'm{number}'
        target = f'{self._mounts}/{container}/{name}'
        with open(source, 'rb') as file:
            content = file.read()
            status = os.fstat(file.fileno())
        os.mkdir(target, 0o700)
        self._mount('tmpfs', 'tmpfs', target, [
            f'size={len(content) + _ROOM_TO_GROW}', 'nr_inodes=2',
            'mode=700'])
        with open(f'{target}/file', 'xb') as file:
            file.write(content)
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fchmod(file.fileno(), status.st_mode & 0o777)
        return f'{self.inside}/{container}/{name}/file'

    def _mount(self, kind: str, source: str, target: str,
               options: Iterable[str]) -> None:
        """Mount so that virtiofsd never sees the mount without its flags.

        A bind mount gets its flags only by a second call, which does not
        reach the copy in virtiofsd's mount namespace. So the mount is made
        in the stage folder, and moved to ``target`` with its flags.
        """
        flags, data = parse_options(options)
        if not flags & syscalls.MS_BIND:
            folder, data = compact(data)
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
            # A bind mount of a shared mount is shared, even on a private one.
            # What is mounted below it is as open to the guest as itself.
            syscalls.restrict_mounts(
                stage, _GUARDS | flags & syscalls.MS_RDONLY)
            syscalls.mount(stage, target, flags=syscalls.MS_MOVE)
        except OSError:
            mounts.detach(stage)
            raise
        finally:
            _remove(stage)

    def remove_container(self, container: str) -> None:
        """Unmount and remove what only this container has. Idempotent."""
        if not self._created:
            return
        for key, volume in list(self._volumes.items()):
            volume.users.discard(container)
            if not volume.users:
                del self._volumes[key]
                path = f'{self._mounts}/{volume.path}'
                mounts.detach(path)
                with contextlib.suppress(OSError):  # something is mounted
                    _remove(path)
        _remove_tree(f'{self._mounts}/{container}')

    def remove(self) -> None:
        """Unmount everything. The empty folders stay."""
        if os.path.exists(self._mounts):  # else spare the search
            mounts.unmount_below(self._stage, self._mounts, self.path)


def parse_options(options: Iterable[str]) -> tuple[int, list[str]]:
    """Return the flags of mount(2) and the file system's own options."""
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        else:
            data.append(option)
    return flags, data


def compact(data: list[str]) -> tuple[str, list[str]]:
    """Shorten an overlay's options, so that many layers fit.

    mount(2) reads one page of options and silently drops the rest. So the
    paths are made relative to their common folder.

    :returns: that folder, which must be the current one during the mount,
        and the options.
    :raises OSError: the short options exceed a page too.
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
        raise OSError(errno.E2BIG, 'the image has too many layers; build '
                      'it with fewer')
    return folder, data


def _mount_point(path: str, source: str) -> None:
    """Create a mount point: a folder if ``source`` is one, else a file."""
    if os.path.isdir(source):
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _remove(path: str) -> None:
    if os.path.isdir(path):
        os.rmdir(path)
    else:
        os.unlink(path)


def _remove_tree(folder: str) -> None:
    """Unmount and remove the mount points in a folder, then the folder.

    Never follows a link and never enters a mount. A mount point is an empty
    folder or an empty file. Anything else means that something is still
    mounted there, which must not be touched.
    """
    if not os.path.isdir(folder):
        return
    for entry in os.scandir(folder):
        mounts.detach(entry.path)
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
