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

"""Reads a tar archive from a pipe or file, within a limited memory."""

import bz2
from collections.abc import Iterator
import lzma
import os
from typing import Any
import zlib

from kata_openstack.runtime.archives import archive_error
from kata_openstack.runtime.archives import tar_headers

_CHUNK = 64 * 1024
_MAX_EXTENDED = 1024 * 1024  # bytes of an extended header, as in Go
_MAX_IN_A_ROW = 16  # extended headers of one entry
# what xz -9 needs, twice
_XZ_MEMORY = 128 * 1024 * 1024


class _Gzip:
    """zlib's decompressor with the interface of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data,
                                      limit)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


class Source:
    """The bytes of an archive, decompressed.

    :param limit: bytes that it may have after decompression.
    """

    def __init__(self, fd: int, limit: int) -> None:
        self._fd = fd
        self._limit = limit
        self._total = 0
        self._buffer = b''
        self._ended = False
        self._inner: Any = None
        head = b''
        while len(head) < 6 and (more := os.read(fd, _CHUNK)):
            head += more
        self._kind = tar_headers.compression(head)
        if self._kind == 'zstd':
            raise archive_error.ArchiveError(
                archive_error.ARCHIVE, 'data', 'it is compressed with zstd',
                'Compress it with gzip, bzip2 or xz, or not at all.')
        self._pending = head
        if self._kind:
            self._restart()

    def _restart(self) -> None:
        self._inner = {'gzip': _Gzip, 'bzip2': bz2.BZ2Decompressor,
                       'xz': lambda: lzma.LZMADecompressor(
                           memlimit=_XZ_MEMORY)}[self._kind]()

    def _raw(self) -> bytes:
        data, self._pending = self._pending, b''
        return data or os.read(self._fd, _CHUNK)

    def _more(self) -> bytes:
        """Return some bytes, b'' at the end.

        :raises ArchiveError:
        """
        if self._ended:
            return b''
        data = b''
        try:
            while not data and not self._ended:
                data = (self._decompress() if self._kind else self._raw())
                self._ended = self._ended or (not self._kind and not data)
        except (zlib.error, lzma.LZMAError, OSError, ValueError) as e:
            if isinstance(e, OSError) and e.errno:
                raise
            raise tar_headers.broken(
                f'its compression ({self._kind}) is damaged') from None
        except MemoryError:
            raise archive_error.ArchiveError(
                archive_error.ARCHIVE, 'data',
                'its decompression takes too much memory',
                'Send it without compression.') from None
        self._total += len(data)
        if self._total > self._limit:
            raise archive_error.ArchiveError(
                archive_error.ARCHIVE, 'data',
                f'it has more than {self._limit >> 20} MiB without '
                'compression', 'Copy the files in several smaller archives.')
        return data

    def _decompress(self) -> bytes:
        if self._inner.eof:
            # such a file may have several streams one after the other
            self._pending = self._inner.unused_data + self._pending
            rest = self._raw()
            if tar_headers.compression(rest) != self._kind:
                self._ended = True
                return b''
            self._pending = rest
            self._restart()
        wanted = self._inner.needs_input
        fresh = self._raw() if wanted else b''
        data = self._inner.decompress(fresh, _CHUNK)
        # zlib may hold data back although it has taken all input
        if wanted and not fresh and not data and not self._inner.eof:
            raise tar_headers.broken('it ends too early')
        return data

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; fewer only at the end.

        Callers ask for no more than they may hold in memory.
        """
        parts, missing = [], size
        while missing:
            if not self._buffer:
                self._buffer = self._more()
                if not self._buffer:
                    break
            part, self._buffer = (self._buffer[:missing],
                                  self._buffer[missing:])
            parts.append(part)
            missing -= len(part)
        return b''.join(parts)

    def exactly(self, size: int) -> bytes:
        """:raises ArchiveError: the archive ends before."""
        data = self.read(size)
        if len(data) < size:
            raise tar_headers.broken('it ends too early')
        return data


class Reader:
    """The entries of an archive, one after the other.

    :param most: entries that it may have.
    """

    def __init__(self, source: Source, most: int) -> None:
        self._source = source
        self._most = most
        self._begun = False
        self._left = 0  # of the entry's data
        self._padding = 0

    def entries(self) -> Iterator[tar_headers.Entry]:
        """Yield each entry; read its data before the next one.

        :raises ArchiveError: the archive is damaged, or too large.
        """
        count = in_a_row = 0
        default: dict[bytes, bytes] = {}
        own: dict[bytes, bytes] = {}
        while entry := self._header():
            count += 1
            if count > self._most:
                raise archive_error.ArchiveError(
                    archive_error.ARCHIVE, 'data',
                    f'it has more than {self._most} entries',
                    'Copy the files in several smaller archives.')
            if entry.kind in tar_headers.EXTENSIONS:
                in_a_row += 1
                if in_a_row > _MAX_IN_A_ROW:
                    raise tar_headers.broken(
                        'it has too many extended headers')
                (default if entry.kind == tar_headers.PAX_GLOBAL
                 else own).update(self._extended(entry))
                continue
            tar_headers.extend(entry, {**default, **own})
            own, in_a_row = {}, 0
            self._begin(entry.size)
            yield entry
            while self.data():
                pass
        if in_a_row:
            raise tar_headers.broken('it ends too early')

    def _header(self) -> tar_headers.Entry | None:
        self._source.exactly(self._padding)
        self._padding = 0
        block = self._source.read(tar_headers.BLOCK)
        if not block:
            if not self._begun:
                raise tar_headers.broken('it is empty')
            return None
        self._begun = True
        if len(block) < tar_headers.BLOCK:
            raise tar_headers.broken('it ends too early')
        return tar_headers.parse(block)

    def _begin(self, size: int) -> None:
        self._left = size
        self._padding = -size % tar_headers.BLOCK

    def data(self) -> bytes:
        """Return a part of the entry's data; b'' at its end.

        :raises ArchiveError:
        """
        part = self._source.exactly(min(self._left, _CHUNK))
        self._left -= len(part)
        return part

    def _extended(self, entry: tar_headers.Entry) -> dict[bytes, bytes]:
        if entry.size > _MAX_EXTENDED:
            raise tar_headers.broken(
                f'it has an extended header of {entry.size} bytes, and at '
                f'most {_MAX_EXTENDED} are allowed')
        self._begin(entry.size)
        return tar_headers.extension(entry.kind,
                                     self._source.exactly(entry.size))
