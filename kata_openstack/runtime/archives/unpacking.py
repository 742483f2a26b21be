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

"""Unpacks a tar archive into a folder of a container.

The caller has made the container's root the root of this process: no name or
link leads out of it. As in Docker, a folder is merged with an existing one,
and anything else replaces what is there; links in the path to a new file are
followed.
"""

from collections.abc import Collection
import errno
import os
import posixpath
import stat

from kata_openstack.runtime.archives import archive_error
from kata_openstack.runtime.archives import packing
from kata_openstack.runtime.archives import tar_headers
from kata_openstack.runtime.archives import tar_source

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEVICES = (tar_headers.CHARACTER, tar_headers.BLOCK_DEVICE)


class Unpacker:
    """Unpacks one archive.

    :param mounts: mount points in the container, which nothing may replace.
    :param hidden: those of them that are not mounted now: nobody would see
        what is below them.
    :param keep_free: bytes that must stay free on the file system.
    """

    def __init__(self, reader: tar_source.Reader,
                 mounts: Collection[bytes] = (),
                 hidden: Collection[bytes] = (), keep_free: int = 0) -> None:
        self._reader = reader
        self._mounts = mounts
        self._hidden = hidden
        self._keep_free = keep_free
        self._parent = (b'.', b'')  # the last one, and its real path
        self._times: list[tuple[bytes, int]] = []

    def unpack(self, path: bytes) -> None:
        """Unpack into the folder ``path``.

        What was unpacked before an error stays, as with Docker.

        :raises ArchiveError:
        """
        clean, ending = packing.tidy(path)
        try:
            if not stat.S_ISDIR(os.stat(clean).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, '')
            os.chdir(clean)
        except OSError as e:
            raise _no_folder(path, e) from e
        self._enter(b'')
        for entry in self._reader.entries():
            try:
                self._entry(entry)
            except OSError as e:
                raise _failed(entry.name, e) from e
        # the last, because each new file changes the time of its folder
        for folder, mtime in reversed(self._times):
            try:
                os.utime(folder, ns=(mtime, mtime), follow_symlinks=False)
            except OSError:
                pass  # a later entry has replaced it

    def _entry(self, entry: tar_headers.Entry) -> None:
        path = _inside(entry.name, entry.name)
        if not path:
            return  # the folder itself
        if entry.kind in _DEVICES:
            raise archive_error.ArchiveError(
                archive_error.ARCHIVE, entry.name, 'it is a device',
                'Leave devices out of the archive.')
        self._enter(posixpath.dirname(path))
        known = entry.kind == tar_headers.FOLDER and _is_folder(path)
        if not known:
            self._check_visible(posixpath.join(self._parent[1],
                                               posixpath.basename(path)))
        if not known and os.path.lexists(path):
            self._remove(path)
        if entry.kind == tar_headers.FILE:
            self._file(path, entry)
            return
        if entry.kind == tar_headers.LINK:
            self._link(path, entry)
            return
        if entry.kind == tar_headers.FOLDER:
            if not known:
                os.mkdir(path, 0o700)
            self._times.append((path, entry.mtime_ns))
        elif entry.kind == tar_headers.SYMLINK:
            os.symlink(entry.link, path)
        elif entry.kind == tar_headers.FIFO:
            os.mkfifo(path, 0o600)
        else:
            raise archive_error.ArchiveError(
                archive_error.ARCHIVE, entry.name,
                f'it is of the unknown type {archive_error.text(entry.kind)}',
                'Leave it out of the archive.')
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        if entry.kind != tar_headers.SYMLINK:  # Linux has no modes for them
            os.chmod(path, entry.mode)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns),
                 follow_symlinks=False)

    def _file(self, path: bytes, entry: tar_headers.Entry) -> None:
        if self._keep_free:
            free = os.statvfs(self._parent[0])
            if free.f_bavail * free.f_frsize < entry.size + self._keep_free:
                raise _no_space(entry.name)
        file = os.open(path, _NEW, 0o600)
        try:
            while data := self._reader.data():
                view = memoryview(data)
                while view:
                    view = view[os.write(file, view):]
            os.fchown(file, entry.uid, entry.gid)
            os.fchmod(file, entry.mode)  # after chown, which clears set-UID
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(file)

    @staticmethod
    def _link(path: bytes, entry: tar_headers.Entry) -> None:
        target = _inside(entry.link, entry.name)
        try:
            os.link(target, path, follow_symlinks=False)
        except FileNotFoundError:
            raise archive_error.ArchiveError(
                archive_error.ARCHIVE, entry.name,
                'it is a hard link to a file that is not in the folder: '
                + archive_error.text(entry.link), 'Put that file before it '
                'into the archive, or make the archive with the option '
                '--hard-dereference of tar.') from None

    def _enter(self, parent: bytes) -> None:
        """Make the folder of a new file, and check where it is."""
        parent = parent or b'.'
        if parent == self._parent[0] and self._parent[1]:
            return
        done = b''
        for part in parent.split(b'/'):
            done = posixpath.join(done, part)
            if not os.path.lexists(done):
                os.mkdir(done, 0o755)
        real = os.path.realpath(parent)
        self._parent = (parent, real)
        self._check_visible(real)

    def _check_visible(self, path: bytes) -> None:
        for mount in self._hidden:
            if _below(path, mount):
                raise archive_error.ArchiveError(
                    archive_error.CONTAINER, '', 'not running, and '
                    f'{archive_error.text(mount)} is not a part of its files',
                    'Start the container first, or copy to another folder.')

    def _remove(self, path: bytes) -> None:
        place = posixpath.join(self._parent[1], posixpath.basename(path))
        for mount in self._mounts:
            if _below(mount, place):
                raise _busy(mount)
        self._parent = (b'.', b'')  # it may be what is removed
        if _is_folder(path):
            _remove_tree(path)
        else:
            os.unlink(path)


def _inside(name: bytes, shown: bytes) -> bytes:
    """Return a name relative to the folder, b'' for the folder itself.

    :raises ArchiveError: it leads out of the folder.
    """
    parts = [part for part in name.split(b'/') if part not in (b'', b'.')]
    if b'..' in parts:
        raise archive_error.ArchiveError(
            archive_error.ARCHIVE, shown, 'a name leads out of the folder '
            'with ".."', 'Make the archive with names relative to its '
            'folder.')
    return b'/'.join(parts)


def _is_folder(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b'/') + b'/')


def _remove_tree(path: bytes) -> None:
    waiting = [path]
    while waiting:
        folders = []
        with os.scandir(waiting[-1]) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    os.unlink(entry.path)
        if folders:
            waiting += folders
        else:
            os.rmdir(waiting.pop())


def _no_folder(path: bytes, error: OSError) -> archive_error.ArchiveError:
    why = {errno.ENOENT: 'it does not exist in the container',
           errno.ENOTDIR: 'it is not a folder'}.get(
               error.errno or 0, 'it cannot be entered: '
               + os.strerror(error.errno or 0))
    return archive_error.ArchiveError(
        archive_error.PATH, path, why, 'Name an existing folder, or make it '
        'first: openstack appcontainer exec <container> mkdir -p <folder>.')


def _no_space(name: bytes) -> archive_error.ArchiveError:
    return archive_error.ArchiveError(
        archive_error.CONTAINER, '',
        f'out of disk space for {archive_error.text(name)}',
        'Remove files of the container, or create it with a larger --disk.')


def _busy(mount: bytes) -> archive_error.ArchiveError:
    return archive_error.ArchiveError(
        archive_error.CONTAINER, '', 'using '
        f'{archive_error.text(mount)} as a mount point',
        'Copy into the folder instead of replacing it, or write the file by '
        'a command: openstack appcontainer exec.')


def _failed(name: bytes, error: OSError) -> archive_error.ArchiveError:
    if error.errno == errno.EROFS:
        return archive_error.ArchiveError(
            archive_error.CONTAINER, '',
            f'read-only where {archive_error.text(name)} would be written',
            'Copy to a folder that the container can write to.')
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _no_space(name)
    if error.errno == errno.EBUSY:
        return _busy(name)
    return archive_error.ArchiveError(
        archive_error.ARCHIVE, name,
        f'it cannot be written: {os.strerror(error.errno or 0)}',
        'Copy it to another folder, or leave it out of the archive.')
