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

"""Empty the tables of the guest's kernel by which it unwinds stacks.

They lie in the memory of each VM. A page of zeros takes none, because a
template's RAM file has a hole in its place.

They are the ORC tables (Documentation/arch/x86/orc-unwinder.rst of the
kernel). Without them, the kernel's stack traces list each return address that
lies on the stack, with a question mark. Only live patches need more, which
the guest does not get.
"""

import struct

_TABLES = ('.orc_unwind_ip', '.orc_unwind')
_NOT_IN_FILE = 8  # SHT_NOBITS
_SECTION = struct.Struct('<IIQQQQIIQQ')


class NotSlimmed(Exception):
    """The kernel's layout is not the expected one. The text says why."""


def slim(kernel: bytes) -> bytes:
    """Return the ELF file ``kernel`` with empty tables.

    :raises NotSlimmed:
    """
    try:
        sections = _sections(kernel)
        data = bytearray(kernel)
        for name in _TABLES:
            offset, size = sections[name]
            data[offset:offset + size] = bytes(size)
    except (struct.error, LookupError, ValueError) as e:
        raise NotSlimmed(f'unexpected kernel: {e!r}') from e
    return bytes(data)


def _sections(kernel: bytes) -> dict[str, tuple[int, int]]:
    """Return offset and size of each section that the file has."""
    if kernel[:6] != b'\x7fELF\x02\x01':
        raise NotSlimmed('not a 64 bit little endian ELF file')
    start, = struct.unpack_from('<Q', kernel, 40)
    size, count, names = struct.unpack_from('<HHH', kernel, 58)
    headers = [_SECTION.unpack_from(kernel, start + number * size)
               for number in range(count)]
    found = {}
    for header in headers:
        name, kind, offset, length = (header[n] for n in (0, 1, 4, 5))
        if kind == _NOT_IN_FILE:
            continue
        if offset + length > len(kernel):
            raise NotSlimmed('the kernel is truncated')
        at = headers[names][4] + name
        found[kernel[at:kernel.index(0, at)].decode()] = offset, length
    return found
