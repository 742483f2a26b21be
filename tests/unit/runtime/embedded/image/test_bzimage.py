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

"""A packed kernel."""

import ctypes
import lzma
import struct

from kata_openstack.runtime.embedded.image import bzimage
from tests.unit import base


class TestBzImage(base.TestCase):
    KERNEL = (b'\x7fELF' + b'code' * 1000
              + b'\4\0\0\0\4\0\0\0\x12\0\0\0Xen\0' + b'data' * 1000)

    def image(self, payload):
        head = bytearray(1024)
        head[0x1F1] = 1
        head[0x202:0x206] = b'HdrS'
        struct.pack_into('<II', head, 0x248, 16, len(payload))
        return bytes(head) + bytes(16) + payload + b'rest'

    def test_xz(self):
        self.assertEqual(self.KERNEL, bzimage.unpack(
            self.image(lzma.compress(self.KERNEL) + b'size')))

    def test_lz4(self):
        library = ctypes.CDLL('liblz4.so.1')
        packed = ctypes.create_string_buffer(2 * len(self.KERNEL))
        size = library.LZ4_compress_default(
            self.KERNEL, packed, len(self.KERNEL), len(packed))
        payload = (b'\x02\x21\x4c\x18' + struct.pack('<I', size)
                   + packed.raw[:size] + struct.pack('<I', 8008))
        self.assertEqual(self.KERNEL, bzimage.unpack(self.image(payload)))

    def zstd(self):
        library = ctypes.CDLL('libzstd.so.1')
        packed = ctypes.create_string_buffer(2 * len(self.KERNEL))
        size = library.ZSTD_compress(
            packed, len(packed), self.KERNEL, len(self.KERNEL), 3)
        return packed.raw[:size]

    def test_zstd(self):
        self.assertEqual(self.KERNEL, bzimage.unpack(self.image(
            self.zstd() + struct.pack('<I', len(self.KERNEL)))))

    def test_damaged_zstd(self):
        for payload in (self.zstd()[:30], self.zstd() + b'siz',
                        self.zstd() + struct.pack('<I', 1 << 30),
                        self.zstd() + struct.pack('<I', 8000),
                        self.zstd() + struct.pack('<I', 8002)):
            self.assertRaises(bzimage.NotUnpacked, bzimage.unpack,
                              self.image(payload))

    def test_what_cannot_be_booted_is_refused(self):
        for image in (b'', bytes(2048), self.image(b'\x28\xb5\x2f\xfd'),
                      self.image(lzma.compress(b'\x7fELF without a note')),
                      self.image(lzma.compress(self.KERNEL)[:100])):
            self.assertRaises(bzimage.NotUnpacked, bzimage.unpack, image)
