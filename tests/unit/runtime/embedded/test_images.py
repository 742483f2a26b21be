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

"""The guest's files: archive, kernel, slimmed programs."""

import ctypes
import io
import lzma
import pathlib
import struct
import subprocess
import tempfile

from kata_openstack.runtime.embedded import bzimage
from kata_openstack.runtime.embedded import cpio
from kata_openstack.runtime.embedded import elf
from kata_openstack.runtime.embedded import kernel
from tests.unit import base


class FolderTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)


class TestCpio(FolderTestCase):
    def write(self):
        out = io.BytesIO()
        archive = cpio.Archive(out)
        archive.folder('empty')
        archive.file('a/b/program', b'\x7fELF' * 5, 0o755)
        archive.file('a/text', b'words')
        archive.link('bin', 'usr/bin')
        archive.end()
        return out.getvalue()

    def test_busybox_can_read_it(self):
        done = subprocess.run(['busybox', 'cpio', '-idm'],
                              input=self.write(), cwd=self.folder,
                              capture_output=True)
        self.assertEqual(0, done.returncode, done.stderr)
        program = self.folder / 'a' / 'b' / 'program'
        self.assertEqual(b'\x7fELF' * 5, program.read_bytes())
        self.assertEqual(0o755, program.stat().st_mode & 0o777)
        self.assertEqual('usr/bin', str((self.folder / 'bin').readlink()))
        self.assertTrue((self.folder / 'empty').is_dir())

    def test_the_same_files_give_the_same_bytes(self):
        self.assertEqual(self.write(), self.write())


class TestKernel(FolderTestCase):
    def setUp(self):
        super().setUp()
        (self.folder / 'boot').mkdir()
        (self.folder / 'boot' / 'vmlinuz-6.1.0-9').write_bytes(b'image')
        self.modules = self.folder / 'lib/modules/6.1.0-9/kernel/drivers'
        self.modules.mkdir(parents=True)

    def module(self, name, depends, suffix=''):
        content = b'\x7fELF\0alias=x\0depends=' + depends + b'\0retpoline=Y'
        if suffix:
            content = lzma.compress(content)
        (self.modules / f'{name}.ko{suffix}').write_bytes(content)

    def test_modules_come_after_what_they_need(self):
        self.module('virtio-ring', b'')
        self.module('virtio', b'virtio_ring', '.xz')
        self.module('net', b'virtio,failover')
        self.module('failover', b'')
        found = kernel.Kernel(self.folder).modules(['net', 'builtin'])
        self.assertEqual(['virtio_ring', 'virtio', 'failover', 'net'],
                         list(found))
        self.assertTrue(found['virtio'].startswith(b'\x7fELF'))

    def test_the_unpacked_image_is_preferred(self):
        self.assertEqual('vmlinuz-6.1.0-9',
                         kernel.Kernel(self.folder).image.name)
        (self.folder / 'vmlinux').write_bytes(b'x')
        found = kernel.Kernel(self.folder)
        self.assertEqual('vmlinux', found.image.name)
        self.assertEqual('6.1.0-9', found.release)


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

    def test_what_cannot_be_booted_is_refused(self):
        for image in (b'', bytes(2048), self.image(b'\x28\xb5\x2f\xfd'),
                      self.image(lzma.compress(b'\x7fELF without a note')),
                      self.image(lzma.compress(self.KERNEL)[:100])):
            self.assertRaises(bzimage.NotUnpacked, bzimage.unpack, image)


class TestElf(FolderTestCase):
    def test_crun_works_without_systemd(self):
        try:
            program = pathlib.Path('/usr/bin/crun').read_bytes()
        except FileNotFoundError:
            self.skipTest('crun is not installed')
        slim = self.folder / 'crun'
        slim.write_bytes(elf.without_library(program, 'libsystemd.so.0'))
        slim.chmod(0o755)
        linked = subprocess.run(['ldd', slim], capture_output=True,
                                text=True).stdout
        self.assertNotIn('libsystemd', linked)
        self.assertIn('libseccomp', linked)
        done = subprocess.run([slim, '--version'], capture_output=True,
                              text=True)
        self.assertIn('crun version', done.stdout)
        self.assertEqual('', done.stderr)

    def test_other_files_are_refused(self):
        program = pathlib.Path('/bin/busybox').read_bytes()
        for content in (b'', b'#!/bin/sh\n', program, program[:5000]):
            self.assertRaises(elf.NotSlimmed, elf.without_library, content,
                              'libsystemd.so.0')
