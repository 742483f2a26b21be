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

"""Extract the ELF kernel from a distribution's compressed image.

QEMU can start the ELF kernel directly, by its PVH entry. The guest then
neither holds the compressed image in memory nor unpacks it: a template is
a quarter smaller and boots faster. Debian 12 packs its cloud kernel with LZ4,
Debian 13 with Zstandard. Layout: Documentation/arch/x86/boot.rst of
the kernel; LZ4's legacy frame: doc/lz4_Frame_format.md of lz4.
"""

import ctypes
import lzma
import re
import struct

_LZ4_LEGACY = b'\x02\x21\x4c\x18'
_LZ4_BLOCK = 8 * 1024 * 1024
_XZ = b'\xfd7zXZ\0'
_ZSTD = b'\x28\xb5\x2f\xfd'
_MAX_SIZE = 256 * 1024 * 1024  # of a kernel; it has some 60 MiB
# ELF note of 4 or 8 bytes, type 18 (XEN_ELFNOTE_PHYS32_ENTRY), of "Xen"
_PVH_NOTE = re.compile(rb'\x04\0\0\0[\x04\x08]\0\0\0\x12\0\0\0Xen\0')


class NotUnpacked(Exception):
    """The image must be booted compressed. The text says why."""


def unpack(image: bytes) -> bytes:
    """Return the ELF kernel in ``image``.

    :raises NotUnpacked: the image is damaged, its compression is unknown,
        or its kernel has no PVH entry.
    """
    if image[0x202:0x206] != b'HdrS':
        raise NotUnpacked('not an x86 boot image')
    start = (image[0x1F1] + 1) * 512
    offset, length = struct.unpack_from('<II', image, 0x248)
    payload = image[start + offset:start + offset + length]
    try:
        if payload.startswith(_XZ):
            unpacker = lzma.LZMADecompressor()
            kernel = unpacker.decompress(payload)
            if not unpacker.eof:
                raise NotUnpacked('the image is truncated')
        elif payload.startswith(_LZ4_LEGACY):
            kernel = _unpack_lz4(payload)
        elif payload.startswith(_ZSTD):
            kernel = _unpack_zstd(payload)
        else:
            raise NotUnpacked(f'unknown compression {payload[:4].hex()}')
    except (lzma.LZMAError, OSError, struct.error) as e:
        raise NotUnpacked(str(e)) from e
    if not kernel.startswith(b'\x7fELF') or not _PVH_NOTE.search(kernel):
        raise NotUnpacked('not an ELF kernel with a PVH entry')
    return kernel


def _unpack_lz4(payload: bytes) -> bytes:
    """Unpack LZ4 data with the C library, which apt and dpkg need too.

    :raises OSError: the library is not installed.
    """
    library = ctypes.CDLL('liblz4.so.1')
    block = ctypes.create_string_buffer(_LZ4_BLOCK)
    kernel = bytearray()
    position = len(_LZ4_LEGACY)
    while position + 4 <= len(payload):
        size, = struct.unpack_from('<I', payload, position)
        data = payload[position + 4:position + 4 + size]
        if len(data) < size:
            break  # not a block: the kernel's size follows the last one
        count = library.LZ4_decompress_safe(data, block, size, _LZ4_BLOCK)
        if count < 0:
            raise NotUnpacked('damaged LZ4 data')
        kernel += block.raw[:count]
        position += 4 + size
    return bytes(kernel)


def _unpack_zstd(payload: bytes) -> bytes:
    """Unpack Zstandard data with the C library, which dpkg needs too.

    The kernel's size follows the data.

    :raises OSError: the library is not installed.
    """
    library = ctypes.CDLL('libzstd.so.1')
    measure, decompress = (library.ZSTD_findFrameCompressedSize,
                           library.ZSTD_decompress)
    measure.restype = decompress.restype = ctypes.c_size_t
    measure.argtypes = ctypes.c_char_p, ctypes.c_size_t
    decompress.argtypes = (ctypes.c_char_p, ctypes.c_size_t,
                           ctypes.c_char_p, ctypes.c_size_t)
    # errors are numbers larger than any size
    packed = measure(payload, len(payload))
    if packed > len(payload):
        raise NotUnpacked('damaged Zstandard data')
    size, = struct.unpack_from('<I', payload, packed)
    if size > _MAX_SIZE:
        raise NotUnpacked(f'a kernel of {size} bytes')
    kernel = ctypes.create_string_buffer(size)
    if decompress(kernel, size, payload, packed) != size:
        raise NotUnpacked('damaged Zstandard data')
    return kernel.raw
