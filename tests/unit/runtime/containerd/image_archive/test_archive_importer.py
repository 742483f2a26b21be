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
import os
import pathlib

import fixtures
import grpc
from tests.unit import base
from tests.unit import fake_containerd
from tests.unit import image_archives as archives

from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.image_archive import archive_importer
from kata_openstack.runtime.containerd.image_archive import contents
from kata_openstack.runtime.containerd.image_archive import tar_index

NAME = 'glance.invalid/i:latest'
LAYERS = [archives.layer(b'1' * 3 * 2 ** 20), archives.layer(b'2')]


class ArchiveImporterTest(base.TestCase):

    def setUp(self):
        super().setUp()
        fake = self.useFixture(fake_containerd.FakeContainerd())
        self.state = fake.state
        self.client = cri.CriClient(fake.conf)
        self.addCleanup(self.client.close)
        self.log = self.useFixture(fixtures.FakeLogger())
        self.importer = archive_importer.ArchiveImporter(fake.conf,
                                                         self.client)
        self.path = pathlib.Path(
            self.useFixture(fixtures.TempDir()).join('archive'))

    def load(self, files, watch=lambda: None, before=lambda: None):
        self.path.write_bytes(archives.tar(files))
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            archive = tar_index.TarIndex(descriptor)
            image = contents.read(archive)
            before()
            return self.importer.load(NAME, archive, image, watch)
        finally:
            os.close(descriptor)

    def called(self, method):
        return [request for name, request in self.state.calls
                if name == method]

    def assert_nothing_left(self):
        """Of what the garbage collector of containerd does not remove."""
        self.assertEqual(({}, {}, []), (
            self.state.leases, self.state.records,
            [name for name in self.state.images if 'glance' in name]))
        self.assertEqual([], [key for key in self.state.snapshots
                              if not key.startswith('sha256:')])

    def test_each_form(self):
        for files in (archives.saved(LAYERS), archives.layout(LAYERS),
                      archives.hybrid(LAYERS),
                      archives.layout(LAYERS, packed=True)):
            self.state.__init__(self.state.root)
            config = archives.config(LAYERS)
            ident = self.load(files)
            self.assertEqual(f'sha256:{archives.sha(config)}', ident)
            self.assertEqual(ident, self.state.images[NAME])
            self.assertEqual({}, self.state.leases)
            first, second = (f'sha256:{archives.sha(data)}'
                             for data in LAYERS)
            chain = archive_importer.chain_id(first, second)
            self.assertEqual({first: '', chain: first}, self.state.snapshots)
            self.assertEqual(
                {'containerd.io/gc.ref.snapshot.overlayfs': chain},
                self.state.blob_labels[ident])
            digest = self.state.records[NAME]
            manifest = json.loads(self.state.blobs[digest])
            self.assertEqual(
                {ident, *(found['digest'] for found in manifest['layers'])},
                set(self.state.blob_labels[digest].values()))
            for data, found in zip(LAYERS, manifest['layers'], strict=True):
                blob = self.state.blobs[found['digest']]
                self.assertEqual(len(blob), found['size'])
                self.assertEqual(data, gzip.decompress(blob) if found[
                    'mediaType'].endswith('+gzip') else blob)
            # all is under the lease until the record holds it
            for method in ('AddResource', 'Prepare', 'Apply', 'Write'):
                self.assertTrue(self.called(method), method)

    def test_large_blobs_are_sent_in_pieces(self):
        self.load(archives.saved(LAYERS))
        self.assertGreaterEqual(2 ** 20, max(
            len(request.data) for request in self.called('Write')))

    def test_what_is_there_is_not_unpacked_again(self):
        self.load(archives.saved(LAYERS))
        count = len(self.called('Apply'))
        self.load(archives.layout(LAYERS))
        self.assertEqual(count, len(self.called('Apply')))
        # the digest in the archive does not prove what is in the layer
        self.load(archives.layout(LAYERS, packed=True))
        self.assertEqual(count + 2, len(self.called('Apply')))
        self.assertEqual(2, len(self.state.snapshots))

    def test_a_layer_of_another_image_by_its_digest(self):
        """The content of others is not given to who only knows digests."""
        self.load(archives.saved(LAYERS))
        self.state.records.clear()
        del self.state.images[NAME]
        other = archives.layer(b'mine')
        for packed in (False, True):
            files = archives.layout([other], packed=packed)
            manifest = next(json.loads(data) for data in files.values()
                            if b'"layers": [' in data
                            and b'schemaVersion' in data)
            manifest['config'] = archives.blob(
                files, archives.config(LAYERS[:1]), 'x')
            archives.index(files, [archives.blob(
                files, json.dumps(manifest).encode(), archives.MANIFEST)])
            error = self.assertRaises(contents.NotAnImage, self.load, files)
            self.assertIn('not the one that its configuration names',
                          str(error))
        # and with other bytes under the digest of a blob that is there
        digest = archives.sha(LAYERS[0])
        for length in (5, len(LAYERS[0])):
            files = archives.layout(LAYERS[:1])
            files[f'blobs/sha256/{digest}'] = bytes(length)
            self.assertRaises(contents.NotAnImage, self.load, files)
        files = archives.saved(LAYERS[:1])
        files[f'{0:064x}/layer.tar'] = other
        error = self.assertRaises(contents.NotAnImage, self.load, files)
        self.assertIn(digest, str(error))
        self.assert_nothing_left()

    def test_one_file_as_two_layers(self):
        files = archives.saved([LAYERS[0]] * 2)
        self.load(files)
        self.assertEqual(2, len(self.called('Apply')))
        manifest = json.loads(self.state.blobs[self.state.records[NAME]])
        self.assertEqual(*manifest['layers'])

    def test_a_failure_at_each_step(self):
        for method in ('Write', 'AddResource', 'Prepare', 'Apply', 'Commit',
                       'UpdateContent', 'Create', 'ImageFsInfo'):
            self.state.__init__(self.state.root)
            self.state.fail[method] = (grpc.StatusCode.UNKNOWN, 'broken')
            error = self.assertRaises(
                exception.RuntimeFailed if method in ('Create', 'ImageFsInfo')
                else exception.ImagePullFailed, self.load,
                archives.saved(LAYERS))
            self.assertIn('broken', str(error) + self.log.output)
            self.assert_nothing_left()
            [deleted] = self.called('LeaseDelete')
            self.assertTrue(deleted.sync)

    def test_the_watch_ends_it(self):
        def full():
            if self.called('Apply'):
                raise exception.NotEnoughDisk(
                    what='x', asked_mib=1, reserve_mib=1, free_mib=1)
        unpacking = fixtures.MonkeyPatch(
            'kata_openstack.runtime.containerd.cri._WATCH_SECONDS', 0.01)
        self.useFixture(unpacking)
        self.state.during_apply = lambda: self.state.closing.wait(1)
        self.assertRaises(exception.NotEnoughDisk, self.load,
                          archives.saved(LAYERS), full)
        self.assert_nothing_left()

        def at_once():
            raise exception.NotEnoughDisk(
                what='x', asked_mib=1, reserve_mib=1, free_mib=1)
        self.assertRaises(exception.NotEnoughDisk, self.load,
                          archives.saved(LAYERS), at_once)

    def test_the_file_is_truncated_meanwhile(self):
        error = self.assertRaises(
            contents.NotAnImage, self.load, archives.saved(LAYERS),
            before=lambda: os.truncate(self.path, 2 ** 20))
        self.assertIn('truncated', str(error))
        self.assert_nothing_left()

    def test_cri_does_not_see_it(self):
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.containerd.importer._SEEN', 0.05))
        self.state.cri_is_blind = True
        self.assertRaises(exception.RuntimeFailed, self.load,
                          archives.saved(LAYERS))
        self.assert_nothing_left()
