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

import gzip
import json
import pathlib
import tarfile
from unittest import mock

import fixtures
from oslo_utils import units
from tests.unit import base
from tests.unit import image_archives as archives

from kata_openstack.runtime.containerd.image_archive import contents
from kata_openstack.runtime.containerd.image_archive import tar_index

LAYERS = [archives.layer(b'1'), archives.layer(b'2'), archives.layer(b'1')]


class Case(base.TestCase):

    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(
            self.useFixture(fixtures.TempDir()).join('archive'))

    def index(self, data):
        self.path.write_bytes(data)
        file = self.path.open('rb')
        self.addCleanup(file.close)
        return tar_index.TarIndex(file.fileno())

    def read(self, files, form=tarfile.GNU_FORMAT):
        archive = self.index(archives.tar(files, form))
        return archive, contents.read(archive)

    def read_bytes(self, data):
        return contents.read(self.index(data))

    def refused(self, words, files):
        error = self.assertRaises(contents.NotAnImage, self.read, files)
        self.assertIn(words, str(error))


class FormTest(Case):

    def assert_layers(self, wanted, archive, image):
        self.assertEqual(wanted, [
            b''.join(archive.chunks(layer.member))
            for layer in image.layers])
        self.assertEqual(
            ['sh'], json.loads(image.config)['config']['Cmd'])

    def test_each_form(self):
        for files in (archives.saved(LAYERS), archives.layout(LAYERS),
                      archives.hybrid(LAYERS)):
            for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT,
                         tarfile.USTAR_FORMAT):
                for prefix in ('', './'):
                    named = {prefix + name: content
                             for name, content in files.items()}
                    archive, image = self.read(named, form)
                    self.assert_layers(LAYERS, archive, image)
                    for data, found in zip(LAYERS, image.layers,
                                           strict=True):
                        digest = f'sha256:{archives.sha(data)}'
                        self.assertEqual((digest, digest, ''), (
                            found.digest, found.diff_id, found.compression))

    def test_compressed_layers(self):
        archive, image = self.read(archives.layout(LAYERS, packed=True))
        packed = [gzip.compress(data, mtime=0) for data in LAYERS]
        self.assert_layers(packed, archive, image)
        self.assertEqual(
            [('gzip', f'sha256:{archives.sha(data)}') for data in packed],
            [(found.compression, found.digest) for found in image.layers])
        files = archives.saved(LAYERS[:1])
        path = f'{0:064x}/layer.tar'
        files[path] = gzip.compress(files[path])
        _, image = self.read(files)
        self.assertEqual(('gzip', ''), (image.layers[0].compression,
                                        image.layers[0].digest))

    def test_the_image_of_this_architecture(self):
        files = archives.layout(LAYERS)
        ours = json.loads(files['index.json'])['manifests'][0]
        other = {'mediaType': archives.MANIFEST, 'size': 1,
                 'digest': 'sha256:' + '2' * 64}
        inner = archives.index(files, [
            {**other, 'platform': {'os': 'linux', 'architecture': 's390x'}},
            {**other, 'platform': {'os': 'unknown',
                                   'architecture': 'unknown'}},
            {**ours, 'platform': {
                'os': 'linux', 'architecture': contents.architecture()}}])
        archives.index(files, [archives.blob(files, inner, archives.INDEX)])
        archive, image = self.read(files)
        self.assert_layers(LAYERS, archive, image)
        archives.index(files, [{**other, 'platform': {
            'os': 'linux', 'architecture': 's390x'}}])
        self.refused('but for s390x', files)
        archives.index(files, [ours, other])
        self.refused('2 images', files)

    def test_names_and_sizes_of_each_kind(self):
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            for name in ('a' * 99, 'b' * 101, 'c/' * 120 + 'd', '\u00e4'):
                archive = self.index(archives.tar({name: b'content'}, form))
                self.assertEqual(b'content', archive.read(
                    archive.find(name), 10, 'file'))
        big = tarfile.TarInfo('big')
        big.size = 9 * units.Gi
        self.path.write_bytes(big.tobuf(tarfile.GNU_FORMAT))
        with self.path.open('r+b') as file:
            file.truncate(512 + big.size)
            archive = tar_index.TarIndex(file.fileno())
        self.assertEqual(big.size, archive.find('big').size)

    def test_a_hard_link(self):
        archive = self.index(archives.tar({
            'a/b': b'1', 'c': archives.link('c', 'a/b', tarfile.LNKTYPE)}))
        self.assertEqual(b'1', archive.read(archive.find('c'), 9, ''))


class HostileTest(Case):

    def test_other_formats(self):
        for data, words in (
                (b'QFI\xfb' + bytes(600), 'a disk image (qcow2)'),
                (gzip.compress(archives.tar({'a': b'1'}) * 99),
                 'compressed as a whole (gzip)'),
                (bytes(range(256)) * 4, 'not a tar file'),
                (b'', 'not a tar file'), (b'text', 'not a tar file')):
            error = self.assertRaises(contents.NotAnImage, self.index, data)
            self.assertIn(words, str(error))

    def test_paths_and_links(self):
        for path in ('../x', '/etc/passwd', 'a/../../x'):
            self.refused('out of the archive', {path: b''})
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                self.refused('out of the archive', {
                    'l': archives.link('l', path, kind)})
        files = archives.saved(LAYERS[:1])
        path = f'{0:064x}/layer.tar'
        files[path] = archives.link(path, '../../../etc/passwd')
        self.refused('out of the archive', files)
        files[path] = archives.link(path, 'layer.tar')
        self.refused('too many links', files)
        files[path] = archives.link(path, 'absent')
        self.refused('lacks the file', files)

    def test_truncated(self):
        data = archives.tar(archives.saved([archives.layer(bytes(9000))]))
        for length in range(1, len(data) - 10240, 700):
            self.assertRaises(contents.NotAnImage, self.read_bytes,
                              data[:length])

    def test_headers(self):
        data = bytearray(archives.tar({'a': b'1' * 600, 'b': b''}))
        data[1024 + 512 + 3] ^= 1
        error = self.assertRaises(contents.NotAnImage, self.index, data)
        self.assertIn('damaged', str(error))
        for change in (
                {'type': tarfile.GNUTYPE_SPARSE},
                {'pax_headers': {'GNU.sparse.major': '1'}},
                {'pax_headers': {'size': '-512'}},
                {'pax_headers': {'size': '99999999999'}},
                {'pax_headers': {'comment': 'x' * 70000}}):
            info = tarfile.TarInfo('a')
            for key, value in change.items():
                setattr(info, key, value)
            self.assertRaises(contents.NotAnImage, self.index,
                              info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
        error = self.assertRaises(contents.NotAnImage, self.index, b''.join(
            tarfile.TarInfo(str(n)).tobuf() for n in range(9000)))
        self.assertIn('too many files', str(error))

    def test_an_attribute_that_is_none(self):
        for bad in (b'9999 path=x\n', b'x path=x\n', b'12 path\n', b'0 a=b',
                    b'-3 a=b\n'):
            header = tarfile.TarInfo('h')
            header.type, header.size = tarfile.XHDTYPE, len(bad)
            self.assertRaises(
                contents.NotAnImage, self.index,
                header.tobuf() + bad.ljust(512, b'\0')
                + tarfile.TarInfo('a').tobuf() + bytes(1024))

    def test_json(self):
        for name in ('manifest.json', 'index.json'):
            for data in (b'', b'x', b'[' * 100000, b'{}', b'[]', b'[1]',
                         b'{"manifests": 1}', b'{"manifests": [2]}',
                         b'[{"Config": 5}]', b'\xff'):
                self.assertRaises(contents.NotAnImage, self.read,
                                  {name: data})
            self.refused('more than', {name: bytes(5 * units.Mi)})
        self.refused('neither', {'a': b''})

    def test_configurations(self):
        layer = archives.layer()
        digest = f'sha256:{archives.sha(layer)}'
        for words, values in (
                ('digest', {'rootfs': {'diff_ids': ['sha512:1']}}),
                ('names 2 layers', {'rootfs': {'diff_ids': [digest] * 2}}),
                ('invalid form', {'rootfs': None}),
                ('invalid form', {'rootfs': {'diff_ids': 5}}),
                ('linux/s390x', {'architecture': 's390x'}),
                ('windows/', {'os': 'windows'})):
            self.refused(words, archives.saved([layer], **values))
            self.refused(words, archives.layout([layer], **values))
        self.refused('0 layers', archives.saved([]))
        self.refused('128 layers', archives.saved([layer] * 128))
        self.read(archives.saved([layer] * 127))

    def test_digests(self):
        files = archives.saved(LAYERS)
        name = next(iter(files))
        files[name] = files[name].replace(b'"sh"', b'"ls"')
        self.refused('does not have the digest', files)
        for name in archives.layout(LAYERS[:1]):
            if name.startswith('blobs'):
                files = archives.layout(LAYERS[:1])
                del files[name]
                self.refused('lacks the file', files)
        files = archives.layout(LAYERS[:1])
        manifest = json.loads(files['index.json'])['manifests'][0]
        archives.index(files, [{**manifest, 'size': 7}])
        self.refused('size of', files)
        path = 'blobs/' + manifest['digest'].replace(':', '/')
        archives.index(files, [manifest])
        files[path] = files[path].replace(b'2', b'3', 1)
        self.refused('does not have the digest', files)
        # another layer than the one of the configuration
        other = archives.layout(LAYERS[1:2])
        manifest = json.loads(next(
            data for data in other.values() if b'layers' in data
            and b'schemaVersion' in data))
        config = archives.config(LAYERS[:1])
        manifest['config'] = archives.blob(other, config, 'x')
        archives.index(other, [archives.blob(
            other, json.dumps(manifest).encode(), archives.MANIFEST)])
        self.refused('configuration names', other)

    def test_layers_of_other_types(self):
        for kind in ('application/vnd.oci.image.layer.v1.tar+encrypted',
                     'application/vnd.docker.image.rootfs.foreign.diff.tar'):
            with mock.patch.object(archives, 'LAYER', kind):
                self.refused('has the type', archives.layout(LAYERS[:1]))
