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

"""Packs a path of a container into a tar archive.

The caller has made the container's root the root of this process: no path or
link leads out of it.
"""

from collections.abc import Container
from collections.abc import Iterator
import errno
import os
import posixpath
import stat
import time
from typing import Any

from kata_openstack.runtime.archives import archive_error
from kata_openstack.runtime.archives import tar_headers

_CHUNK = 256 * 1024
_MIB = 1024 * 1024
# Go's os.FileMode, see its io/fs; Docker's API tells modes in this form
_GO = {stat.S_IFDIR: 1 << 31, stat.S_IFLNK: 1 << 27, stat.S_IFBLK: 1 << 26,
       stat.S_IFIFO: 1 << 25, stat.S_IFSOCK: 1 << 24,
       stat.S_IFCHR: 1 << 26 | 1 << 21, stat.S_IFREG: 0}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22,
            stat.S_ISVTX: 1 << 20}
# never wait for a FIFO, never follow a link that has replaced a file
_OPEN = (os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
         | os.O_CLOEXEC)
# another process has removed or replaced the file meanwhile
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


def tidy(path: bytes) -> tuple[bytes, bytes]:
    """Return a path as Docker understands it, and its ending.

    ``a//b/../c/`` becomes ``/a/c`` and ``/``. The ending '/' or '/.' means
    that the path must be a folder, and that a link at its end is followed.
    """
    ending = (b'/.' if path == b'.' or path.endswith(b'/.') else
              b'/' if path.endswith(b'/') else b'')
    return posixpath.normpath(b'/' + path.lstrip(b'/')), ending


def go_mode(mode: int) -> int:
    """Return a mode as the number of Go's os.FileMode."""
    return (stat.S_IMODE(mode) & 0o777 | _GO.get(stat.S_IFMT(mode), 0)
            | sum(theirs for ours, theirs in _GO_BITS.items()
                  if mode & ours))


class Packer:
    """Writes one archive.

    :param limit: bytes that it may have.
    :param most: entries that it may have.
    :param kernels: devices of the kernel's own file systems, such as /proc:
        their files have no size and no end.
    """

    def __init__(self, out: int, limit: int, most: int,
                 kernels: Container[int] = ()) -> None:
        self._out = out
        self._limit = limit
        self._most = most
        self._kernels = kernels
        self._total = 0
        self._count = 0
        self._linked: dict[tuple[int, ...], bytes] = {}

    def pack(self, path: bytes) -> dict[str, Any]:
        """Pack a path.

        The names in the archive begin with the last part of the path, and
        with '.' for the root and for a path that ends with '/.'.

        :returns: name, size, mode, mtime and linkTarget as in Docker's API.
        :raises ArchiveError:
        """
        clean, ending = tidy(path)
        if clean == b'/':
            ending = ending or b'/'
        try:
            found = os.stat(clean + b'/.') if ending else os.lstat(clean)
        except OSError as e:
            raise _missing(path, e) from e
        if found.st_dev in self._kernels or stat.S_IFMT(found.st_mode) in (
                stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
            raise archive_error.ArchiveError(
                archive_error.PATH, path, 'it is a device, a socket or a file '
                'of the kernel', 'Name an ordinary file or a folder. A '
                'command shows what such a file tells: openstack '
                'appcontainer exec <container> cat <file>.')
        name = posixpath.basename(clean)
        self._tree(clean + ending, b'.' if clean == b'/' or ending == b'/.'
                   else name)
        self._write(tar_headers.END)
        target = b''
        if stat.S_ISLNK(found.st_mode):
            target = os.path.realpath(clean)
        return {'name': archive_error.text(
                    b'.' if ending == b'/.' and clean != b'/'
                    else name or b'/'),
                'size': found.st_size, 'mode': go_mode(found.st_mode),
                'mtime': _rfc3339(found.st_mtime_ns),
                'linkTarget': archive_error.text(target)}

    def _tree(self, path: bytes, name: bytes) -> None:
        waiting = [(path, name)]
        top = True
        while waiting:
            path, name = waiting.pop()
            try:
                found = (os.stat(path) if path.endswith((b'/', b'/.'))
                         else os.lstat(path))
                if stat.S_ISDIR(found.st_mode):
                    children = (() if found.st_dev in self._kernels
                                else sorted(os.listdir(path), reverse=True))
                    self._header(path, name + b'/', tar_headers.FOLDER, found)
                    self._admit(len(waiting) + len(children))
                    base = path.rstrip(b'.') if path.endswith(b'/.') else path
                    waiting += [(posixpath.join(base, child),
                                 name + b'/' + child) for child in children]
                else:
                    self._other(path, name, found)
            except OSError as e:
                if top:
                    raise _missing(path, e) from e
                if e.errno not in _GONE:
                    raise _unreadable(path, e) from e
            top = False

    def _other(self, path: bytes, name: bytes,
               found: os.stat_result) -> None:
        if stat.S_ISREG(found.st_mode):
            self._file(path, name)
        elif stat.S_ISLNK(found.st_mode):
            self._header(path, name, tar_headers.SYMLINK, found,
                         os.readlink(path))
        elif stat.S_ISFIFO(found.st_mode):
            self._header(path, name, tar_headers.FIFO, found)
        # Devices are left out: whoever unpacked them as root would get them.
        # tar has no sockets

    def _file(self, path: bytes, name: bytes) -> None:
        file = os.open(path, _OPEN)
        try:
            found = os.fstat(file)
            if (not stat.S_ISREG(found.st_mode)
                    or found.st_dev in self._kernels):
                return
            # The numbers alone may be equal: virtiofs has files of several
            # file systems
            key = (found.st_dev, found.st_ino, found.st_size,
                   found.st_mtime_ns, found.st_ctime_ns, found.st_mode)
            if found.st_nlink > 1:
                if key in self._linked:
                    self._header(path, name, tar_headers.LINK, found,
                                 self._linked[key])
                    return
                self._linked[key] = name
            self._header(path, name, tar_headers.FILE, found)
            for part in _content(file, found.st_size):
                self._write(part)
            self._write(bytes(-found.st_size % tar_headers.BLOCK))
        finally:
            os.close(file)

    def _admit(self, waiting: int) -> None:
        if self._count + waiting > self._most:
            raise archive_error.ArchiveError(
                archive_error.PATH, 'folder',
                f'it has more than {self._most} files',
                'Copy its folders one by one.')

    def _header(self, path: bytes, name: bytes, kind: bytes,
                found: os.stat_result, link: bytes = b'') -> None:
        self._count += 1
        self._admit(0)
        size = found.st_size if kind == tar_headers.FILE else 0
        if self._total + size > self._limit:
            raise self._too_large(path, self._total + size)
        self._write(tar_headers.build(tar_headers.Entry(
            name, kind, stat.S_IMODE(found.st_mode), found.st_uid,
            found.st_gid, size, found.st_mtime_ns, link)))

    def _write(self, data: bytes) -> None:
        self._total += len(data)
        if self._total > self._limit:
            raise self._too_large(b'folder', self._total)
        view = memoryview(data)
        while view:
            view = view[os.write(self._out, view):]

    def _too_large(self, path: bytes, total: int
                   ) -> archive_error.ArchiveError:
        return archive_error.ArchiveError(
            archive_error.PATH, path, 'with it, the archive has at least '
            f'{-(-total // _MIB)} MiB, and it can have at most '
            f'{self._limit // _MIB} MiB', 'Copy smaller parts, one after the '
            'other, or ask the operator for a larger [kata_driver] '
            'max_archive_mib.')


def _content(file: int, size: int) -> Iterator[bytes]:
    """Yield exactly so many bytes of a file, which may change meanwhile."""
    while size:
        part = os.read(file, min(size, _CHUNK)) or bytes(min(size, _CHUNK))
        size -= len(part)
        yield part


def _missing(path: bytes, error: OSError) -> archive_error.ArchiveError:
    if error.errno == errno.ENOENT:
        return archive_error.ArchiveError(
            archive_error.PATH, path, 'it does not exist in the container',
            'Name an existing file or folder: openstack appcontainer exec '
            '<container> ls <folder>.')
    if error.errno == errno.ENOTDIR:
        return archive_error.ArchiveError(
            archive_error.PATH, path, 'it is not a folder',
            'Name the file without a slash at the end.')
    return _unreadable(path, error)


def _unreadable(path: bytes, error: OSError) -> archive_error.ArchiveError:
    return archive_error.ArchiveError(
        archive_error.PATH, path,
        f'it cannot be read: {os.strerror(error.errno or 0)}',
        'Copy the other files, one folder after the other.')


def _rfc3339(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10 ** 9)
    try:
        text = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return '1970-01-01T00:00:00Z'
    return f'{text}.{rest:09d}Z' if rest else f'{text}Z'
