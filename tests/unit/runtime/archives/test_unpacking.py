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

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from unittest import mock

from kata_openstack.runtime.archives import archive_error
from kata_openstack.runtime.archives import tar_headers
from kata_openstack.runtime.archives import tar_source
from kata_openstack.runtime.archives import unpacking
from tests.unit.runtime.embedded.image import base


def member(name, content=b'', **fields):
    """A member; ``content``: of a file, else the kind is in ``fields``."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.uid, info.gid, info.mtime = os.getuid(), os.getgid(), 1000
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder(name, **fields):
    return member(name, type=tarfile.DIRTYPE, mode=0o755, **fields)


def symlink(name, target):
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name, target):
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def archive(*members, form=tarfile.GNU_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def header(kind, size, name='x'):
    """One header, whatever follows it."""
    return tar_headers._block(tar_headers.Entry(
        name.encode(), kind, size=size))


class UnpackingTestCase(base.FolderTestCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        self.target = self.folder / 'target'
        self.target.mkdir()

    def unpack(self, data, path=None, limit=1 << 24, most=100, **options):
        file = self.folder / 'in.tar'
        file.write_bytes(data)
        with open(file, 'rb') as source:
            unpacking.Unpacker(tar_source.Reader(
                tar_source.Source(source.fileno(), limit), most),
                **options).unpack(os.fsencode(path or self.target))

    def refused(self, words, data, *arguments, field='archive', **options):
        error = self.assertRaises(archive_error.ArchiveError, self.unpack,
                                  data, *arguments, **options)
        self.assertEqual(field, error.told[0])
        self.assertIn(words, ': '.join(error.told))

    def content(self, name):
        return (self.target / name).read_bytes()


class TestUnpacking(UnpackingTestCase):

    def test_members(self):
        long = 'n' * 90 + '/' + 'm' * 120
        odd = 'caf\udcff'
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            self.unpack(archive(
                folder('d', mtime=500), member('d/f', b'words', mode=0o6751),
                hard_link('d/h', 'd/f'), symlink('d/s', 'f'),
                member('p', type=tarfile.FIFOTYPE), member(long, b'long'),
                symlink('l', 't' * 300), member(odd, b'odd'),
                member('big', bytes(200_000)), form=form))
            self.assertEqual(b'words', self.content('d/s'))
            found = (self.target / 'd/h').stat()
            self.assertEqual((0o6751, 1000, 2), (
                stat.S_IMODE(found.st_mode), found.st_mtime, found.st_nlink))
            self.assertEqual(500, (self.target / 'd').stat().st_mtime)
            self.assertTrue((self.target / 'p').is_fifo())
            self.assertEqual(b'long', self.content(long))
            self.assertEqual('t' * 300, os.readlink(self.target / 'l'))
            self.assertEqual(b'odd', self.content(odd))
            self.assertEqual(bytes(200_000), self.content('big'))
            self.assertEqual(1000, os.lstat(self.target / 'l').st_mtime)

    def test_posix_prefix_and_the_oldest_form(self):
        name = 'a' * 100 + '/' + 'b' * 100
        self.unpack(archive(member(name, b'x'), form=tarfile.USTAR_FORMAT))
        self.assertEqual(b'x', self.content(name))
        old = bytearray(header(tar_headers.FILE, 0, 'old/'))
        old[156:265] = bytes(109)
        old[148:156] = b' ' * 8
        old[148:156] = b'%06o\0 ' % sum(old)
        self.unpack(bytes(old) + bytes(1024))
        self.assertTrue((self.target / 'old').is_dir())

    def test_a_slash_where_a_header_cuts_the_name(self):
        """What follows such a header is a file's data, not another header."""
        name = 'proj/' + 94 * 'x' + '/data.bin'
        self.assertEqual('/', name[99])
        inner = archive(member('inner', b'changed'))
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            for content in (b'', b'words', inner):
                for kind in (tarfile.REGTYPE, tarfile.CONTTYPE,
                             tarfile.AREGTYPE):
                    self.unpack(archive(
                        member('inner', b'kept'),
                        member(name, content, type=kind),
                        member('last', content), form=form))
                    self.assertEqual(content, self.content(name))
                    self.assertEqual(content, self.content('last'))
                    self.assertEqual(b'kept', self.content('inner'))

    def test_old_folders(self):
        long = 'n' * 90 + '/' + 'm' * 120
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            self.unpack(archive(
                member(long + '/', type=tarfile.AREGTYPE, mode=0o755),
                member(f'{long}/f', b'x'), form=form))
            self.assertEqual(b'x', self.content(f'{long}/f'))

    def test_owners(self):
        if os.geteuid():
            self.skipTest('only root can give files away')
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            self.unpack(archive(
                member('f', b'x', uid=70_000, gid=4_000_000_000, mode=0o4755,
                       uname='root', gname='root'),
                folder('d', uid=5, gid=6), form=form))
            found = (self.target / 'f').stat()
            self.assertEqual((70_000, 4_000_000_000, 0o4755), (
                found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)))
            self.assertEqual(5, (self.target / 'd').stat().st_uid)

    def test_compressed(self):
        plain = archive(member('f', os.urandom(100_000) + bytes(900_000)))
        for compress in (gzip.compress, bz2.compress, lzma.compress):
            half = compress(plain[:300_000]) + compress(plain[300_000:])
            for data in (compress(plain), half):
                self.unpack(data)
                self.assertEqual(1_000_000, len(self.content('f')))
            self.refused('early', compress(plain)[:-5000])
            self.refused('', compress(plain)[:2000] + b'damage' * 10_000)
        self.refused('compression', gzip.compress(plain)[:10] + b'\xff' * 9)
        self.refused('zstd', b'\x28\xb5\x2f\xfd' + bytes(600))

    def test_merged_and_replaced(self):
        (self.target / 'd' / 'sub').mkdir(parents=True)
        (self.target / 'd' / 'kept').write_text('kept')
        (self.target / 'gone' / 'deep').mkdir(parents=True)
        (self.target / 'gone' / 'deep' / 'f').write_text('x')
        (self.target / 'gone' / 'out').symlink_to(self.folder)
        (self.target / 'file').write_text('x')
        self.unpack(archive(folder('d'), member('d/new', b'new'),
                            member('gone', b'a file'), folder('file'),
                            member('file/in', b'in')))
        self.assertEqual((b'kept', b'new', b'a file', b'in'), tuple(map(
            self.content, ('d/kept', 'd/new', 'gone', 'file/in'))))
        self.assertTrue((self.folder / 'in.tar').exists())

    def test_missing_folders_are_made(self):
        self.unpack(archive(member('a/b/c', b'x')))
        self.assertEqual(b'x', self.content('a/b/c'))

    def test_names_stay_in_the_folder(self):
        for name in ('../x', 'a/../../x', '/../x', 'a/..'):
            self.refused('..', archive(member(name, b'x')))
            self.refused('..', archive(hard_link('y', name)))
        self.unpack(archive(member('/etc/x', b'absolute'), folder('./'),
                            folder('.'), member('./y', b'y')))
        self.assertEqual(b'absolute', self.content('etc/x'))
        self.assertEqual(['in.tar', 'target'],
                         sorted(os.listdir(self.folder)))

    def test_a_link_in_the_place_of_a_file(self):
        """What is unpacked does not go through a link at its own name."""
        secret = self.folder / 'secret'
        secret.write_text('secret')
        self.unpack(archive(symlink('l', str(secret)), member('l', b'x')))
        self.assertEqual(('secret', b'x'), (secret.read_text(),
                                            self.content('l')))
        self.unpack(archive(symlink('m', str(secret)), folder('m')))
        self.assertEqual('secret', secret.read_text())
        # the link itself, not its target
        self.unpack(archive(symlink('n', str(secret)), hard_link('o', 'n')))
        self.assertTrue((self.target / 'o').is_symlink())
        self.refused('hard link', archive(hard_link('q', str(secret))))

    def test_devices(self):
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            self.refused('device', archive(member('null', type=kind)))
        self.refused('unknown type', header(b'Z', 0) + bytes(1024))

    def test_no_folder(self):
        (self.target / 'f').touch()
        (self.target / 'l').symlink_to('f')
        data = archive(member('x'))
        for name, words in (('none', 'does not exist'),
                            ('f', 'not a folder'), ('l', 'not a folder'),
                            ('f/x', 'not a folder')):
            self.refused(words, data, self.target / name, field='path')
        (self.target / 'link').symlink_to('.')
        self.unpack(data, f'{self.target}/link')

    def test_mount_points_stay(self):
        (self.target / 'd').mkdir()
        (self.target / 'd' / 'f').touch()
        (self.target / 'link').symlink_to('d')
        mounts = [os.fsencode(self.target / 'd' / 'f')]
        for name in ('d', 'd/f', 'link/f'):
            self.refused('mount point', archive(member(name, b'x')),
                         field='container', mounts=mounts)
        self.unpack(archive(folder('d'), member('d/g', b'x')), mounts=mounts)
        hidden = [os.fsencode(self.target / 'd'),
                  os.fsencode(self.target / 'hosts')]
        for name in ('d/x', 'link/x', 'hosts', 'd/deep/x'):
            self.refused('Start the container', archive(member(name, b'x')),
                         field='container', hidden=hidden)
        self.refused('Start the container', archive(member('x')),
                     self.target / 'd', field='container', hidden=hidden)
        self.unpack(archive(folder('d'), member('x')), hidden=hidden)

    def test_space(self):
        self.refused('out of disk space', archive(member('f', b'x')),
                     field='container', keep_free=1 << 60)
        real = os.open
        for number, words, field in (
                (28, 'out of disk space', 'container'),
                (30, 'read-only', 'container'),
                (16, 'mount point', 'container'),
                (36, 'File name too long', 'archive')):
            def fail(path, *arguments, number=number):
                if path == b'f':
                    raise OSError(number, 'x')
                return real(path, *arguments)
            with mock.patch.object(unpacking.os, 'open', fail):
                self.refused(words, archive(member('f', b'x')), field=field)


class TestDamage(UnpackingTestCase):

    def test_truncated(self):
        data = archive(folder('d'), member('d/f', b'x' * 700),
                       member('n' * 200, b'y'))[:-9000]
        for length in range(0, len(data), 100):
            try:
                self.unpack(data[:length])
            except archive_error.ArchiveError as e:
                self.assertEqual('archive', e.told[0])
            else:  # it ends between two members, as with GNU tar
                self.assertEqual(0, length % 512)
        self.refused('empty', b'')
        self.refused('early', data[:512 + 512 + 600])

    def test_no_archive(self):
        self.refused('no tar archive', b'text' * 1000)
        self.refused('no tar archive', os.urandom(4096))
        data = bytearray(archive(member('f', b'x')))
        data[0] ^= 1
        self.refused('damaged', bytes(data))

    def test_huge_headers(self):
        for kind in b'xgLK':
            for size in (1 << 34, 2 << 20):
                self.refused('extended header',
                             header(bytes([kind]), size) + bytes(4096))
        many = (header(b'x', 11) + b'11 comm=ab\n' + bytes(501)) * 50
        self.refused('too many extended headers', many)
        self.refused('early', header(b'x', 11) + b'11 comm=ab\n'
                     + bytes(501))

    def test_damaged_pax(self):
        for text in (b'nonsense', b'99 path=x\n', b'5 path=x\n', b'-1 a=b\n',
                     b'10 path=xyz', b'9 path=\0\n', b'13 size=abcd\n',
                     b'12 size=-12\n', b'11 uid=1e9\n', b'13 mtime=inf\n',
                     b'24 uid=' + b'9' * 16 + b'\n'):
            self.refused('', header(b'x', len(text)) + text.ljust(512, b'\0')
                         + header(b'0', 0) + bytes(1024))
            self.assertEqual([], os.listdir(self.target))

    def test_sparse(self):
        self.refused('sparse', header(b'S', 10) + bytes(1024))
        text = b'22 GNU.sparse.major=1\n'
        self.refused('sparse', header(b'x', len(text)) + text.ljust(
            512, b'\0') + header(b'0', 0) + bytes(1024))

    def test_sizes(self):
        self.refused('early', header(b'0', 1 << 40) + bytes(4096))
        negative = tar_headers._block(tar_headers.Entry(b'x', b'0', size=-5))
        self.refused('size', negative + bytes(1024))
        # no data follows a folder, whatever its header says
        self.unpack(header(b'5', 4096, 'd') + bytes(1024))

    def test_bombs(self):
        bomb = gzip.compress(archive(member('f', bytes(30 << 20))))
        self.assertLess(len(bomb), 64 << 10)
        self.refused('more than 16 MiB', bomb)
        self.assertLess(os.stat(self.target / 'f').st_size, 17 << 20)
        self.refused('more than 100 entries', archive(*(
            member(str(number)) for number in range(101))))

    def test_a_decompressor_gives_little_at_once(self):
        for compress in (gzip.compress, bz2.compress, lzma.compress):
            file = self.folder / 'bomb'
            file.write_bytes(compress(bytes(8 << 20)))
            with open(file, 'rb') as source:
                found = tar_source.Source(source.fileno(), 1 << 30)
                self.assertLessEqual(len(found._more()), 64 << 10)
