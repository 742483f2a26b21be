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

from concurrent import futures
import os
import pathlib
import time
from unittest import mock

import fixtures
import grpc
from oslo_utils import units
from tests.unit import base
from tests.unit import fake_containerd
from tests.unit import image_archives as archives

from kata_openstack.compute.images import store
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native

UUID = 'a5b1c2d3-0000-4000-8000-000000000001'
NAME = f'glance.invalid/{UUID}:latest'
LAYERS = [archives.layer()]


class Case(base.TestCase):

    def setUp(self):
        super().setUp()
        fake = self.useFixture(fake_containerd.FakeContainerd())
        self.state, self.conf = fake.state, fake.conf
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.folder = root / 'images'
        self.folder.mkdir()
        self.conf.set_override('image_import_path', str(self.folder),
                               'compute')
        self.client = cri.CriClient(fake.conf)
        self.addCleanup(self.client.close)
        self.log = self.useFixture(fixtures.FakeLogger())
        self.images = self.new()

    def new(self):
        return store.Images(self.conf, self.client, native.NativeClient(
            self.conf, self.client.channel))

    def write(self, layers=LAYERS, name=f'{UUID}-0.tar', **values):
        (self.folder / name).write_bytes(archives.tar(
            archives.saved(layers, **values)))
        return name


class FileTest(Case):
    """Who has the broker's password chooses the name of the file."""

    def refused(self, error, name):
        raised = self.assertRaises(error, self.images.import_image, UUID,
                                   name, 'p')
        self.assertNotIn(str(self.folder), str(raised))
        self.assertNotIn(NAME, self.state.images)

    def test_names(self):
        (self.folder.parent / f'{UUID}.tar').write_bytes(archives.tar(
            archives.saved(LAYERS)))
        other = UUID[:-1] + '2'
        self.write(name=f'{other}.tar')
        for name in ('../' + f'{UUID}.tar', f'/{UUID}.tar', '/etc/passwd',
                     f'{UUID}/../x.tar', f'{UUID}.tar\0', f'{UUID}',
                     f'{UUID}.part', f'{UUID}{"0" * 65}.tar', f'{other}.tar',
                     f'{UUID}.tar/', f'{UUID}\n.tar', '..', '.'):
            self.refused(exception.InvalidInput, name)

    def test_only_files(self):
        secret = self.folder.parent / 'secret'
        secret.write_bytes(archives.tar(archives.saved(LAYERS)))
        name = f'{UUID}.tar'
        path = self.folder / name
        for make in (lambda: path.symlink_to(secret),
                     lambda: os.link(secret, path), path.mkdir,
                     lambda: os.mkfifo(path), lambda: None):
            make()
            self.refused(exception.ImagePullFailed, name)
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        self.assertIn(str(self.folder), self.log.output)  # the operator
        self.write(name=name)
        self.images.import_image(UUID, name, 'p')

    def test_no_folder(self):
        self.conf.set_override('image_import_path', '/no/folder', 'compute')
        self.images = self.new()
        self.refused(exception.ImagePullFailed, f'{UUID}.tar')
        self.assertIn('/no/folder', self.log.output)


class ImportTest(Case):

    def test_import(self):
        self.assertRaises(exception.ImageNotFound, self.images.import_image,
                          UUID, None, 'p')
        found = self.images.import_image(UUID, self.write(), 'p')
        config = archives.config(LAYERS)
        self.assertEqual((NAME, f'sha256:{archives.sha(config)}'),
                         (found['reference'], found['id']))
        # a create from an image that is there writes nothing
        self.state.calls.clear()
        self.assertEqual(found, self.images.import_image(UUID, None, 'p'))
        self.assertEqual({'ImageStatus', 'Get'},
                         {name for name, _ in self.state.calls})
        self.assertEqual(found['id'], self.images.resolve(NAME, 'p')[0])
        self.assertEqual({}, self.state.leases)

    def test_rights(self):
        self.images.import_image(UUID, self.write(), 'a')
        for _ in range(2):
            self.images.resolve(NAME, 'a')
            self.assertRaises(exception.ImageNotFound, self.images.resolve,
                              NAME, 'b')
            self.images = self.new()
        # no policy makes a request to a registry of that name
        for policy in ('always', 'ifnotpresent', 'never'):
            error = self.assertRaises(exception.InvalidInput,
                                      self.images.pull, NAME, policy, None,
                                      'a')
            self.assertIn('--image-driver glance', str(error))
        self.assertNotIn('PullImage', [name for name, _ in self.state.calls])
        self.images.import_image(UUID, None, 'b')  # Glance allowed it
        self.images.resolve(NAME, 'b')
        self.images.resolve(NAME, 'a')
        self.assertRaises(exception.ImageNotFound, self.images.resolve, NAME,
                          None)

    def test_registries_that_are_allowed(self):
        """Glance is the operator's, so the list does not matter."""
        self.conf.set_override('allowed_registries', ['r.test'], 'compute')
        self.images = self.new()
        self.images.import_image(UUID, self.write(), 'p')
        self.images.resolve(NAME, 'p')
        self.assertRaises(exception.InvalidInput, self.images.pull,
                          'other.test/a', 'always', None, 'p')

    def test_unused_images_go(self):
        found = self.images.import_image(UUID, self.write(), 'p')
        self.images.cleanup.run()
        self.assertIn(NAME, self.state.images)
        with mock.patch('time.time', lambda real=time.time: (
                real() + 40 * 24 * 3600)):
            self.images.import_image(UUID, None, 'p')  # used
            self.images.cleanup.run()
            self.assertIn(NAME, self.state.images)
        with mock.patch('time.time', lambda real=time.time: (
                real() + 80 * 24 * 3600)):
            self.images.cleanup.run()
        self.assertNotIn(found['id'], self.state.images.values())

    def test_concurrent_imports_join(self):
        self.state.during_apply = lambda: self.state.closing.wait(0.3)
        file = self.write()
        with futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda project: self.images.import_image(
                UUID, file, project), 'abcd'))
        self.assertEqual([found[0]] * 4, found)
        self.assertEqual(1, len([1 for name, _ in self.state.calls
                                 if name == 'Apply']))
        for project in 'abcd':
            self.images.resolve(NAME, project)

    def test_what_is_no_image(self):
        (self.folder / f'{UUID}.tar').write_bytes(b'QFI\xfb' + bytes(9000))
        error = self.assertRaises(
            exception.InvalidInput, self.images.import_image, UUID,
            f'{UUID}.tar', 'p')
        for words in (UUID, 'disk image (qcow2)', 'docker save'):
            self.assertIn(words, str(error))
        self.assertEqual({}, self.state.leases)

    def test_no_room(self):
        self.images.space.free = lambda: (
            self.images.space.reserve + 5 * units.Ki)
        error = self.assertRaises(
            exception.NotEnoughDisk, self.images.import_image, UUID,
            self.write([archives.layer(bytes(6 * units.Ki))]), 'p')
        self.assertIn('Importing an image', str(error))
        self.assertNotIn('Write', [name for name, _ in self.state.calls])
        self.assertEqual({}, self.state.leases)

    def test_a_failure_of_containerd(self):
        self.state.fail['Apply'] = (grpc.StatusCode.UNKNOWN,
                                    'failed at /var/lib/secret\x1b[0m')
        error = self.assertRaises(
            exception.ImagePullFailed, self.images.import_image, UUID,
            self.write(), 'p')
        self.assertIn(UUID, str(error))
        self.assertNotIn('secret', str(error))
        self.assertIn('secret', self.log.output)
        self.assertNotIn('\x1b', self.log.output)
        # another pull must not wait for proofs because of it
        self.assertEqual({}, self.state.leases)

    def test_an_import_whose_end_is_unknown(self):
        """containerd may create the record after the failure."""
        self.state.fail['Create'] = (grpc.StatusCode.UNKNOWN, 'who knows')
        self.assertRaises(exception.RuntimeFailed, self.images.import_image,
                          UUID, self.write(), 'a')
        self.state.images[NAME] = 'sha256:late'
        self.assertRaises(exception.ImageNotFound, self.images.resolve, NAME,
                          'b')
        self.assertEqual(1, len(self.state.leases))
