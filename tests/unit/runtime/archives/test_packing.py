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

import os
import socket
import stat
import subprocess
import tarfile
from unittest import mock

from kata_openstack.runtime.archives import archive_error
from kata_openstack.runtime.archives import packing
from tests.unit.runtime.embedded.image import base


class TestPacking(base.FolderTestCase):

    def setUp(self):
        super().setUp()
        self.top = self.folder / 'top'
        (self.top / 'sub').mkdir(parents=True)
        (self.top / 'file').write_bytes(b'x' * 1000)
        (self.top / 'file').chmod(0o4751)
        os.utime(self.top / 'file', ns=(5, 1_500_000_000_000_000_001))
        (self.top / 'link').symlink_to('sub')

    def pack(self, path, **options):
        out = self.folder / 'out.tar'
        with open(out, 'wb') as file:
            self.stat = packing.Packer(
                file.fileno(), options.pop('limit', 1 << 20),
                options.pop('most', 100), **options).pack(os.fsencode(path))
        with tarfile.open(out) as tar:
            self.members = {member.name: member for member in tar}
            return sorted(self.members)

    def refused(self, words, path, **options):
        error = self.assertRaises(archive_error.ArchiveError, self.pack, path,
                                  **options)
        self.assertEqual('path', error.told[0])
        self.assertIn(words, ': '.join(error.told))

    def test_names_begin_with_the_last_part(self):
        top = str(self.top)
        for path, names in (
                (f'{top}', ['top', 'top/file', 'top/link', 'top/sub']),
                (f'{top}/', ['top', 'top/file', 'top/link', 'top/sub']),
                (f'{top}/sub/../', ['top', 'top/file', 'top/link',
                                    'top/sub']),
                (f'{top}/.', ['.', './file', './link', './sub']),
                (f'{top}/file', ['file']), (f'{top}/link', ['link']),
                (f'{top}/link/', ['link']), (f'{top}/link/.', ['.'])):
            self.assertEqual(names, self.pack(path), path)

    def test_what_docker_tells(self):
        self.pack(self.top / 'file')
        self.assertEqual(
            {'name': 'file', 'size': 1000, 'mode': 0o751 | 1 << 23,
             'mtime': '2017-07-14T02:40:00.000000001Z', 'linkTarget': ''},
            self.stat)
        self.pack(self.top / 'link')
        self.assertEqual(('link', 0o777 | 1 << 27, str(self.top / 'sub')), (
            self.stat['name'], self.stat['mode'], self.stat['linkTarget']))
        self.pack(f'{self.top}/link/')
        self.assertEqual(('link', 0o755 | 1 << 31, ''), (
            self.stat['name'], self.stat['mode'], self.stat['linkTarget']))
        for mode, expected in (
                (stat.S_IFCHR | 0o600, 0o600 | 1 << 26 | 1 << 21),
                (stat.S_IFBLK, 1 << 26), (stat.S_IFIFO, 1 << 25),
                (stat.S_IFSOCK, 1 << 24), (stat.S_IFDIR | stat.S_ISVTX
                                           | stat.S_ISGID,
                                           1 << 31 | 1 << 20 | 1 << 22)):
            self.assertEqual(expected, packing.go_mode(mode))

    def test_members(self):
        os.link(self.top / 'file', self.top / 'second')
        name = 'n' * 150
        (self.top / name).symlink_to('t' * 200)
        odd = os.fsencode(self.top) + b'/\xff'
        with open(odd, 'wb'):
            pass
        os.utime(odd, (-5, -5))
        os.mkfifo(self.top / 'fifo')
        self.pack(self.top)
        self.assertEqual((1000, 0o4751, os.getuid(), 1_500_000_000), (
            self.members['top/file'].size, self.members['top/file'].mode,
            self.members['top/file'].uid, self.members['top/file'].mtime))
        self.assertEqual('top/file', self.members['top/second'].linkname)
        self.assertTrue(self.members['top/second'].islnk())
        self.assertEqual('t' * 200, self.members[f'top/{name}'].linkname)
        self.assertTrue(self.members['top/fifo'].isfifo())
        self.assertEqual(-5, self.members['top/\udcff'].mtime)
        # GNU tar agrees
        listed = subprocess.run(
            ['tar', 'tf', self.folder / 'out.tar'], check=True,
            capture_output=True).stdout.splitlines()
        self.assertEqual(8, len(listed))

    def test_what_has_no_content_is_never_opened(self):
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(str(self.top / 'socket'))
        os.mkfifo(self.top / 'sub' / 'fifo')
        self.assertIn('top/sub/fifo', self.pack(self.top))
        self.assertNotIn('top/socket', self.members)
        self.assertTrue(self.pack(self.top / 'sub' / 'fifo'))
        self.refused('a socket', self.top / 'socket')
        self.refused('a device', '/dev/null')
        kernels = {os.stat('/proc').st_dev}
        self.refused('of the kernel', '/proc/cpuinfo', kernels=kernels)

    def test_a_fifo_in_the_place_of_a_file(self):
        os.mkfifo(self.top / 'fifo')
        as_seen = os.lstat(self.top / 'file')
        packer = packing.Packer(-1, 1 << 20, 100)
        packer._other(os.fsencode(self.top / 'fifo'), b'fifo', as_seen)
        self.assertEqual(0, packer._total)

    def test_file_systems_of_the_kernel_are_empty(self):
        here = self.top.stat().st_dev
        (self.folder / 'outer').mkdir()
        packer = packing.Packer(os.open('/dev/null', os.O_WRONLY), 1 << 20,
                                100, {here})
        self.addCleanup(os.close, packer._out)
        packer._tree(os.fsencode(self.top), b'top')
        self.assertEqual(1, packer._count)

    def test_what_is_missing(self):
        self.refused('does not exist', self.top / 'none')
        self.refused('does not exist', self.top / 'none' / 'x')
        self.refused('not a folder', f'{self.top}/file/')
        self.refused('not a folder', f'{self.top}/file/x')

    def test_limits(self):
        self.pack(self.top, limit=5 * 512 + 1024 + 1024)
        self.refused('at most 0 MiB', self.top, limit=5 * 512 + 1024)
        (self.top / 'large').write_bytes(bytes(3 << 20))
        self.refused('at least 4 MiB, and it can have at most 1 MiB',
                     self.top)
        with open(self.top / 'large', 'wb') as file:
            file.truncate(1 << 42)  # sparse: nobody waits for it
        self.refused('at most 1 MiB', self.top)
        self.refused('more than 3 files', self.top, most=3)

    def test_a_file_that_changes(self):
        path = self.top / 'file'
        file = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, file)
        os.truncate(path, 10)
        self.assertEqual(b'x' * 10 + bytes(990),
                         b''.join(packing._content(file, 1000)))
        path.write_bytes(b'y' * 5000)
        os.lseek(file, 0, os.SEEK_SET)
        self.assertEqual(b'y' * 1000,
                         b''.join(packing._content(file, 1000)))

    def test_files_that_vanish(self):
        real = os.lstat

        def vanish(path):
            if bytes(path).endswith(b'file'):
                raise FileNotFoundError(2, 'gone')
            return real(path)
        with mock.patch.object(packing.os, 'lstat', vanish):
            self.assertEqual(['top', 'top/link', 'top/sub'],
                             self.pack(self.top))

    def test_equal_numbers_do_not_make_a_hard_link(self):
        """Files of several file systems have one device with virtiofs."""
        (self.top / 'other').write_bytes(b'z')
        for name in ('file', 'other'):
            os.link(self.top / name, self.folder / f'{name}2')
        real = os.fstat

        class Stat:
            def __init__(self, found):
                self.found = found
                self.st_ino = 7

            def __getattr__(self, name):
                return getattr(self.found, name)
        with mock.patch.object(packing.os, 'fstat',
                               lambda fd: Stat(real(fd))):
            self.pack(self.top)
        self.assertTrue(self.members['top/other'].isreg())

    def test_names_for_people(self):
        self.assertEqual('\\x1b[2J\\xff', archive_error.text(b'\x1b[2J\xff'))
        self.assertEqual(259, len(archive_error.text('x' * 5000)))
