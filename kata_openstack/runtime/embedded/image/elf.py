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

"""Remove an unused library from a program.

crun is linked with libsystemd, which brings in seven libraries. The guest
has no systemd, so crun never calls them. Under emulation the dynamic
linker's work on them takes half of crun's start time. This module removes
the library from the guest's copy of crun and makes its functions weak
references, which the linker leaves at zero.

Layouts: elf.h of the C library, the ELF specification, and "Symbol
Versioning" of the LSB. Only 64 bit, little endian files are supported.
"""

import struct

_DYNAMIC, _LOAD = 2, 1
_NULL, _NEEDED, _STRTAB, _SYMTAB = 0, 1, 5, 6
_VERSYM, _VERNEED, _VERNEEDNUM = 0x6FFFFFF0, 0x6FFFFFFE, 0x6FFFFFFF
_IGNORED = 0x6000000F  # a dynamic tag that the linker ignores
_WEAK = 2

_PROGRAM = struct.Struct('<IIQQQQQQ')
_ENTRY = struct.Struct('<QQ')
_NEED = struct.Struct('<HHIII')
_VERSION = struct.Struct('<IHHII')
_SYMBOL = struct.Struct('<IBBHQQ')


class NotSlimmed(Exception):
    """The program's layout is not the expected one. The text says why."""


def without_library(program: bytes, library: str) -> bytes:
    """Return ``program`` without its dependency on ``library``.

    :raises NotSlimmed: it has no such dependency, or its layout is unknown.
    """
    try:
        return _Slimmer(program).remove(library.encode())
    except (struct.error, KeyError, IndexError, StopIteration) as e:
        raise NotSlimmed(f'unexpected ELF file: {e!r}') from e


class _Slimmer:
    def __init__(self, program: bytes) -> None:
        self._data = bytearray(program)
        if program[:6] != b'\x7fELF\x02\x01':
            raise NotSlimmed('not a 64 bit little endian ELF file')
        start, = struct.unpack_from('<Q', program, 32)
        size, count = struct.unpack_from('<HH', program, 54)
        self._headers = [_PROGRAM.unpack_from(program, start + n * size)
                         for n in range(count)]
        self._dynamic: list[tuple[int, int, int]] = []  # offset, tag, value
        offset = next(h[2] for h in self._headers if h[0] == _DYNAMIC)
        while True:
            tag, value = _ENTRY.unpack_from(program, offset)
            if tag == _NULL:
                break
            self._dynamic.append((offset, tag, value))
            offset += _ENTRY.size
        self._values = {tag: value for _, tag, value in self._dynamic}

    def _offset(self, address: int) -> int:
        for kind, _, offset, start, _, size, _, _ in self._headers:
            if kind == _LOAD and start <= address < start + size:
                return offset + address - start
        raise KeyError(address)

    def _string(self, index: int) -> bytes:
        start = self._offset(self._values[_STRTAB]) + index
        return bytes(self._data[start:self._data.index(0, start)])

    def remove(self, library: bytes) -> bytes:
        offset = next((offset for offset, tag, value in self._dynamic
                       if tag == _NEEDED and self._string(value) == library),
                      -1)
        if offset < 0:
            raise NotSlimmed(f'no dependency on {library.decode()}')
        _ENTRY.pack_into(self._data, offset, _IGNORED, 0)
        versions = self._unlink_versions(library)
        self._weaken(versions)
        return bytes(self._data)

    def _unlink_versions(self, library: bytes) -> set[int]:
        """Remove the library from the linked list of needed versions.

        :returns: the numbers of its versions.
        """
        position = self._offset(self._values[_VERNEED])
        previous = -1
        while True:
            _, count, file, first, after = _NEED.unpack_from(
                self._data, position)
            if self._string(file) == library:
                break
            if not after:
                raise NotSlimmed('no symbol versions of the library')
            previous, position = position, position + after
        found = set()
        entry = position + first
        for _ in range(count):
            _, _, number, _, step = _VERSION.unpack_from(self._data, entry)
            found.add(number)
            entry += step
        self._splice(previous, position, after)
        return found

    def _splice(self, previous: int, position: int, after: int) -> None:
        offset, count = next(
            (offset, value) for offset, tag, value in self._dynamic
            if tag == _VERNEEDNUM)
        _ENTRY.pack_into(self._data, offset, _VERNEEDNUM, count - 1)
        if previous < 0:
            offset, address = next(
                (offset, value) for offset, tag, value in self._dynamic
                if tag == _VERNEED)
            _ENTRY.pack_into(self._data, offset, _VERNEED, address + after)
            return
        head = list(_NEED.unpack_from(self._data, previous))
        head[4] = head[4] + after if after else 0
        _NEED.pack_into(self._data, previous, *head)

    def _weaken(self, versions: set[int]) -> None:
        """Make the symbols of these versions weak and unversioned."""
        symbols = self._offset(self._values[_SYMTAB])
        numbers = self._offset(self._values[_VERSYM])
        # ELF gives no count: the string table follows the symbol table
        count = (self._offset(self._values[_STRTAB]) - symbols
                 ) // _SYMBOL.size
        for index in range(count):
            at = numbers + 2 * index
            number, = struct.unpack_from('<H', self._data, at)
            if number & 0x7FFF in versions:
                struct.pack_into('<H', self._data, at, 1)
                where = symbols + index * _SYMBOL.size + 4
                self._data[where] = _WEAK << 4 | self._data[where] & 0xF
