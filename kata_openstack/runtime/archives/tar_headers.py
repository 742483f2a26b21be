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

"""The blocks of a tar archive: POSIX's ustar and pax, and GNU's.

Python's tarfile reads an extended header of any size into memory, and its
import costs a guest without KVM seconds. Names are bytes, because a container
may have names in any encoding.
"""

from collections.abc import Iterator
import struct
from typing import Final

from kata_openstack.runtime.archives import archive_error

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)

FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = (
    b'0', b'1', b'2', b'3', b'4', b'5', b'6')
# entries that describe the next one
PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK = b'x', b'g', b'L', b'K'
EXTENSIONS: Final = (PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK)
_OLD, _CONTIGUOUS = b'\0', b'7'  # other types of files
_SPARSE = b'S'
# No data follows these, whatever their headers say, as in Go's archive/tar
_NO_DATA = (LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO)

_HEAD = struct.Struct('100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x')
_SUM = slice(148, 156)
_POSIX, _GNU = b'ustar\x0000', b'ustar  \0'
_KEPT = (b'path', b'linkpath', b'size', b'uid', b'gid', b'mtime')
_LARGEST = 1 << 62
_COMPRESSIONS = {b'\x1f\x8b': 'gzip', b'BZh': 'bzip2',
                 b'\xfd7zXZ\0': 'xz', b'\x28\xb5\x2f\xfd': 'zstd'}
_MAKE_ANEW = 'Make the archive again, and check it with tar -t.'


def compression(start: bytes) -> str:
    """Return how a file is compressed, '' if it is not, by its first bytes."""
    return next((name for magic, name in _COMPRESSIONS.items()
                 if start.startswith(magic)), '')


class Entry:
    """A member of an archive. ``link``: the target of a link."""

    def __init__(self, name: bytes, kind: bytes, mode: int = 0, uid: int = 0,
                 gid: int = 0, size: int = 0, mtime_ns: int = 0,
                 link: bytes = b'') -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime_ns = mtime_ns
        self.link = link


def broken(why: str, name: bytes = b'') -> archive_error.ArchiveError:
    return archive_error.ArchiveError(
        archive_error.ARCHIVE, name or 'data', why, _MAKE_ANEW)


def parse(block: bytes) -> Entry | None:
    """Return the entry of a header; None for the end of the archive.

    It is complete after :func:`extend`.

    :raises ArchiveError: it is no header of a tar archive.
    """
    if not any(block):
        return None
    if not is_header(block):
        raise broken('it is no tar archive, or it is damaged')
    (name, mode, uid, gid, size, mtime, _, kind, link, magic, _, _, _,
     _, prefix) = _HEAD.unpack(block)
    name, prefix = _text(name), _text(prefix)
    if magic == _POSIX and prefix:
        name = prefix + b'/' + name
    if kind == _SPARSE:
        raise sparse(name)
    if kind == _CONTIGUOUS:
        kind = FILE
    entry = Entry(name, kind, _number(mode) & 0o7777, _number(uid),
                  _number(gid), _number(size), _number(mtime) * 10 ** 9,
                  _text(link))
    check(entry)
    return entry


def is_header(block: bytes) -> bool:
    """Check the sum in a header."""
    try:
        wanted = _number(block[_SUM])
    except archive_error.ArchiveError:
        return False
    return wanted == sum(block) - sum(block[_SUM]) + 8 * ord(' ')


def check(entry: Entry) -> None:
    """:raises ArchiveError: a number is out of bounds."""
    if entry.kind in _NO_DATA:
        entry.size = 0
    if not 0 <= entry.size < _LARGEST:
        raise broken('it has a size that is no size of a file', entry.name)
    for owner in (entry.uid, entry.gid):
        if not 0 <= owner < (1 << 32) - 1:
            raise broken('it has an owner that Linux cannot have', entry.name)
    if abs(entry.mtime_ns) >= 1 << 63:
        raise broken('it has a time that Linux cannot have', entry.name)


def sparse(name: bytes) -> archive_error.ArchiveError:
    return archive_error.ArchiveError(
        archive_error.ARCHIVE, name, 'it is stored as a sparse file',
        'Make the archive without the option --sparse of tar.')


def _text(field: bytes) -> bytes:
    return field.partition(b'\0')[0]


def _number(field: bytes) -> int:
    """Return a number in octal digits, or GNU's binary one."""
    if field[0] in (0x80, 0xff):
        return int.from_bytes(
            field if field[0] == 0xff else b'\0' + field[1:], 'big',
            signed=True)
    digits = field.strip(b' \0')
    if not digits:
        return 0
    try:
        return int(digits, 8)
    except ValueError:
        raise broken('it is no tar archive, or it is damaged') from None


def extension(kind: bytes, data: bytes) -> dict[bytes, bytes]:
    """Return the records of an extended header that matter here.

    :param kind: one of EXTENSIONS
    :raises ArchiveError:
    """
    if kind == LONG_NAME:
        return {b'path': _text(data)}
    if kind == LONG_LINK:
        return {b'linkpath': _text(data)}
    found = {}
    for key, value in _records(data):
        if key.startswith(b'GNU.sparse.'):
            raise sparse(b'file')
        if key in _KEPT:
            found[key] = value
    return found


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position < len(data):
        space = data.find(b' ', position, position + 10)
        digits = data[position:max(space, position)]
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1:position + length].partition(b'=')
        if not equals or not value.endswith(b'\n') or (
                position + length > len(data)):
            raise broken('it has a damaged extended header')
        yield key, value[:-1]
        position += length


def extend(entry: Entry, records: dict[bytes, bytes]) -> None:
    """Apply the records of the extended headers, of which there may be none.

    :raises ArchiveError:
    """
    try:
        entry.name = records.get(b'path') or entry.name
        entry.link = records.get(b'linkpath', entry.link)
        entry.size = int(records.get(b'size') or entry.size)
        entry.uid = int(records.get(b'uid') or entry.uid)
        entry.gid = int(records.get(b'gid') or entry.gid)
        if records.get(b'mtime'):
            entry.mtime_ns = int(float(records[b'mtime']) * 10 ** 9)
    except (ValueError, OverflowError):
        raise broken('it has a damaged extended header', entry.name) from None
    if b'\0' in entry.name + entry.link:
        raise broken('a name contains a NUL character', entry.name)
    if entry.kind == _OLD:
        # Before POSIX, the name alone told a folder. The whole name: the
        # header has only its first 100 bytes, which may end with a slash
        entry.kind = FOLDER if entry.name.endswith(b'/') else FILE
    check(entry)


def build(entry: Entry) -> bytes:
    """Return the header of an entry, with those for long names."""
    before = b''
    for kind, value in ((LONG_LINK, entry.link), (LONG_NAME, entry.name)):
        if len(value) > 100:
            data = value + b'\0'
            before += (_block(Entry(b'././@LongLink', kind, size=len(data)))
                       + data + bytes(-len(data) % BLOCK))
    return before + _block(entry)


def _block(entry: Entry) -> bytes:
    fields = [entry.name[:100], _digits(entry.mode, 8), _digits(entry.uid, 8),
              _digits(entry.gid, 8), _digits(entry.size, 12),
              _digits(entry.mtime_ns // 10 ** 9, 12), b' ' * 8, entry.kind,
              entry.link[:100], _GNU, b'', b'', b'', b'', b'']
    block = bytearray(_HEAD.pack(*fields))
    block[_SUM] = b'%06o\0 ' % sum(block)
    return bytes(block)


def _digits(value: int, length: int) -> bytes:
    if 0 <= value < 8 ** (length - 1):
        return b'%0*o' % (length - 1, value)
    sign = b'\xff' if value < 0 else b'\x80'
    return sign + value.to_bytes(length, 'big', signed=True)[1:]
