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

Python's own tarfile module reads headers of any size into memory, and takes
minutes for some of them. This one reads no more than it needs, keeps a
limited number of members, and refuses what no container tool writes.
"""

from collections.abc import Iterator
import dataclasses
import os
import posixpath

from oslo_utils import units

_BLOCK = 512
CHUNK = units.Mi
_MOST_MEMBERS = 8192
_MOST_LINKS = 8
_LONGEST_HEADER = 64 * units.Ki  # of one with a long name or with attributes
_FILES = b'0\0' b'7'
_HARD_LINK, _SYMBOLIC_LINK = b'1', b'2'
_LONG_NAME, _LONG_LINK = b'L', b'K'
_ATTRIBUTES, _GLOBAL_ATTRIBUTES = b'x', b'g'
_SPARSE = b'S'

_NOT_TAR = 'it is not a tar file'
_OTHERS = {
    b'QFI\xfb': 'it is a disk image (qcow2)',
    b'\x1f\x8b': 'it is compressed as a whole (gzip)',
    b'\x28\xb5\x2f\xfd': 'it is compressed as a whole (zstd)',
    b'\xfd7zX': 'it is compressed as a whole (xz)',
    b'BZh': 'it is compressed as a whole (bzip2)',
}


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
        extra: dict[str, str] = {}  # for the next member, from its attributes
        for count in range(4 * _MOST_MEMBERS):
            if offset + _BLOCK > self._size:
                if not count:
                    raise NotAnImage(self._other_format())
                return  # some tools write no end
            header = self._pread(_BLOCK, offset)
            if not any(header):
                return
            if not _is_valid(header):
                raise NotAnImage('the file is damaged' if count
                                 else self._other_format())
            offset += _BLOCK
            kind = header[156:157]
            special = kind in (_ATTRIBUTES, _LONG_NAME, _LONG_LINK)
            size = _size(header, {} if special else extra)
            if offset + size > self._size:
                raise NotAnImage('the file is truncated')
            if special:
                if size > _LONGEST_HEADER:
                    raise NotAnImage('a header in it is too long')
                extra |= _extra(kind, self._pread(size, offset))
            elif kind != _GLOBAL_ATTRIBUTES:
                if kind == _SPARSE or any(key.startswith('GNU.sparse')
                                          for key in extra):
                    raise NotAnImage('it has a sparse file')
                self._add(header, kind, offset, size, extra)
                extra = {}
            offset += -(-size // _BLOCK) * _BLOCK
        raise NotAnImage('it has too many files')

    def _add(self, header: bytes, kind: bytes, offset: int, size: int,
             extra: dict[str, str]) -> None:
        path = _clean(extra.get('path') or _name(header))
        if kind in _FILES:
            self._members[path] = Member(offset, size)
        elif kind in (_HARD_LINK, _SYMBOLIC_LINK):
            link = extra.get('linkpath') or _text(header[157:257])
            if kind == _SYMBOLIC_LINK:
                link = posixpath.join(posixpath.dirname(path), link)
            self._members[path] = Member(offset, 0, _clean(link))
        if len(self._members) > _MOST_MEMBERS:
            raise NotAnImage('it has too many files')

    def _other_format(self) -> str:
        start = os.pread(self._descriptor, 8, 0)
        return next((why for magic, why in _OTHERS.items()
                     if start.startswith(magic)), _NOT_TAR)


def _is_valid(header: bytes) -> bool:
    """Check the sum in a header."""
    try:
        wanted = int(header[148:156].rstrip(b' \0') or b'0', 8)
    except ValueError:
        return False
    return wanted == sum(header[:148]) + 8 * ord(' ') + sum(header[156:])


def _size(header: bytes, extra: dict[str, str]) -> int:
    field = header[124:136]
    try:
        if 'size' in extra:
            size = int(extra['size'])
        elif field[0] == 0x80:  # GNU's form for more than 8 GiB
            size = int.from_bytes(field[1:], 'big')
        else:
            size = int(field.strip(b' \0') or b'0', 8)
    except ValueError:
        size = -1
    if size < 0:
        raise NotAnImage('the size of a file in it is invalid')
    return 0 if header[156:157] in (_HARD_LINK, _SYMBOLIC_LINK) else size


def _extra(kind: bytes, data: bytes) -> dict[str, str]:
    if kind == _LONG_NAME:
        return {'path': _text(data)}
    if kind == _LONG_LINK:
        return {'linkpath': _text(data)}
    found = {}
    while data:
        length, _, _ = data.partition(b' ')
        try:
            count = int(length)
            record = data[len(length) + 1:count]
        except ValueError:
            count, record = 0, b''
        key, equals, value = record.partition(b'=')
        if not 0 < count <= len(data) or not equals:
            raise NotAnImage('an attribute in it is invalid')
        found[_text(key)] = _text(value.removesuffix(b'\n'))
        data = data[count:]
    return found


def _name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = (_text(header[345:500]) if header[257:263] == b'ustar\0' else '')
    return f'{prefix}/{name}' if prefix else name


def _text(data: bytes) -> str:
    return data.partition(b'\0')[0].decode('utf-8', 'replace')


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
