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

"""Random access to the members of a tar file of a tenant.

It reads no more than it needs, keeps a limited number of members, and refuses
what no container tool writes.
"""

from collections.abc import Iterator
import dataclasses
import os
import posixpath

from oslo_utils import units

from kata_openstack.runtime.archives import archive_error
from kata_openstack.runtime.archives import tar_headers

CHUNK = units.Mi
_MOST_MEMBERS = 8192
_MOST_LINKS = 8
_LONGEST_HEADER = 64 * units.Ki  # of one with a long name or with attributes

_QCOW2 = b'QFI\xfb'


class NotAnImage(Exception):
    """The file is not an archive of a container image; ``str()`` says why.

    The text completes "Invalid image: ...".
    """


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in the archive, or a link to one.

    ``link``: the path of the file from the root of the archive.
    """

    offset: int
    size: int
    link: str = ''


class TarIndex:
    """The files in a tar file. Thread-safe after the creation."""

    def __init__(self, descriptor: int) -> None:
        """:param descriptor: of the open file; stays open

        :raises NotAnImage:
        """
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._members: dict[str, Member] = {}
        self._read_headers()

    def __contains__(self, path: str) -> bool:
        return path in self._members

    def find(self, path: str) -> Member:
        """Return a file; links are followed within the archive.

        :raises NotAnImage: there is none
        """
        for _ in range(_MOST_LINKS):
            member = self._members.get(_clean(path))
            if member is None:
                raise NotAnImage(f'it lacks the file {_shown(path)}')
            if not member.link:
                return member
            path = member.link
        raise NotAnImage(f'too many links lead to {_shown(path)}')

    def read(self, member: Member, most: int, what: str) -> bytes:
        """Return the content of a small file.

        :raises NotAnImage: it has more than ``most`` bytes
        """
        if member.size > most:
            raise NotAnImage(f'its {what} has more than {most} bytes')
        return b''.join(self.chunks(member))

    def start(self, member: Member, count: int) -> bytes:
        """Return the first bytes of a file."""
        return self._pread(min(count, member.size), member.offset)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield the content of a file in pieces of 1 MiB."""
        offset, end = member.offset, member.offset + member.size
        while offset < end:
            data = self._pread(min(CHUNK, end - offset), offset)
            yield data
            offset += len(data)

    def _pread(self, count: int, offset: int) -> bytes:
        """:raises NotAnImage: the file ends before"""
        data = os.pread(self._descriptor, count, offset)
        while len(data) < count:
            more = os.pread(self._descriptor, count - len(data),
                            offset + len(data))
            if not more:
                raise NotAnImage('the file is truncated')
            data += more
        return data

    def _read_headers(self) -> None:
        offset = 0
        extra: dict[bytes, bytes] = {}  # from extended headers of the next
        for count in range(4 * _MOST_MEMBERS):
            if offset + tar_headers.BLOCK > self._size:
                if not count:
                    raise NotAnImage(self._other_format())
                return  # some tools write no end
            header = self._pread(tar_headers.BLOCK, offset)
            try:
                entry = tar_headers.parse(header)
                if entry is None:
                    return
                offset = self._follow(entry, offset + tar_headers.BLOCK,
                                      extra)
            except archive_error.ArchiveError as e:
                if not count and not tar_headers.is_header(header):
                    raise NotAnImage(self._other_format()) from None
                raise NotAnImage(f'at byte {offset}, {e}') from None
        raise NotAnImage('it has too many files')

    def _follow(self, entry: tar_headers.Entry, offset: int,
                extra: dict[bytes, bytes]) -> int:
        """Take an entry whose data is at ``offset``; return its end.

        :param extra: is changed
        :raises NotAnImage, ArchiveError:
        """
        special = entry.kind in tar_headers.EXTENSIONS
        if not special:
            tar_headers.extend(entry, extra)
            extra.clear()
        if offset + entry.size > self._size:
            raise NotAnImage('the file is truncated')
        if not special:
            self._add(entry, offset)
        elif entry.kind != tar_headers.PAX_GLOBAL:
            if entry.size > _LONGEST_HEADER:
                raise NotAnImage('a header in it is too long')
            extra |= tar_headers.extension(entry.kind,
                                           self._pread(entry.size, offset))
        return offset - (-entry.size // tar_headers.BLOCK) * tar_headers.BLOCK

    def _add(self, entry: tar_headers.Entry, offset: int) -> None:
        path = _clean(_text(entry.name))
        if entry.kind == tar_headers.FILE:
            self._members[path] = Member(offset, entry.size)
        elif entry.kind in (tar_headers.LINK, tar_headers.SYMLINK):
            link = _text(entry.link)
            if entry.kind == tar_headers.SYMLINK:
                link = posixpath.join(posixpath.dirname(path), link)
            self._members[path] = Member(offset, 0, _clean(link))
        if len(self._members) > _MOST_MEMBERS:
            raise NotAnImage('it has too many files')

    def _other_format(self) -> str:
        start = os.pread(self._descriptor, 8, 0)
        if start.startswith(_QCOW2):
            return 'it is a disk image (qcow2)'
        compression = tar_headers.compression(start)
        if compression:
            return f'it is compressed as a whole ({compression})'
        return 'it is not a tar file'


def _text(name: bytes) -> str:
    return name.decode('utf-8', 'replace')


def _clean(path: str) -> str:
    """Return a path without dots.

    :raises NotAnImage: it leads out of the archive
    """
    cleaned = posixpath.normpath(path)
    if cleaned.startswith('/') or cleaned.split('/')[0] == '..':
        raise NotAnImage(f'the path {_shown(path)} leads out of the archive')
    return cleaned


def _shown(path: str) -> str:
    return repr(path[:128])
