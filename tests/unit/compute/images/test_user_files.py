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

"""What containerd finds as /etc/passwd in the layers of an image."""

import contextlib
import os
import pathlib
import stat

import fixtures

from kata_openstack.compute.images import user_files
from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import types_pb2
from tests.unit import base

PASSWD = '/etc/passwd'


class Native:
    """Has one image, of overlayfs, unless ``mounts`` says otherwise."""

    def __init__(self, layers):
        self.mounts = [types_pb2.Mount(type='overlay', options=[
            'index=off', f'lowerdir={":".join(layers)}'])]
        self.asked = []

    @contextlib.contextmanager
    def view(self, chain):
        self.asked.append(chain)
        if self.mounts is None:
            raise exception.NotFound(kind='Snapshot', id=chain)
        yield self.mounts


class LayersTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.upper, self.lower = (self.root / name
                                  for name in ('upper', 'lower'))
        for layer in (self.upper, self.lower):
            (layer / 'etc').mkdir(parents=True)
        self.layers = [str(self.upper), str(self.lower)]

    def kind(self, path=PASSWD):
        return stat.S_IFMT(user_files.mode_of(self.layers, path))


class ModeTest(LayersTestCase):
    def test_the_upper_layer_hides_the_lower_one(self):
        self.assertEqual(0, self.kind())
        os.mkfifo(self.lower / 'etc/passwd')
        self.assertEqual(stat.S_IFIFO, self.kind())
        (self.upper / 'etc/passwd').touch()
        self.assertEqual(stat.S_IFREG, self.kind())

    def test_links_stay_in_the_image(self):
        os.mkfifo(self.lower / 'pipe')
        link = self.upper / 'etc/passwd'
        for target in ('/pipe', '../pipe', '../../../pipe', '/etc/../pipe',
                       './.././pipe', '/other/pipe'):
            if target == '/other/pipe':
                (self.upper / 'other').symlink_to('.')
            link.symlink_to(target)
            self.assertEqual(stat.S_IFIFO, self.kind(), target)
            link.unlink()
        for target in (str(self.lower / 'pipe'), '/nothing', '/pipe/x',
                       '/etc/passwd'):
            link.symlink_to(target)
            self.assertEqual(0, self.kind(), target)
            link.unlink()

    def test_a_linked_folder(self):
        (self.upper / 'etc').rmdir()
        (self.upper / 'etc').symlink_to('real')
        (self.lower / 'real').mkdir()
        os.mkfifo(self.lower / 'real/passwd')
        self.assertEqual(stat.S_IFIFO, self.kind())

    def test_deleted(self):
        os.mkfifo(self.lower / 'etc/passwd')
        os.mknod(self.upper / 'etc/passwd', stat.S_IFCHR)
        self.assertEqual(0, self.kind())
        (self.upper / 'etc/passwd').unlink()
        os.setxattr(self.upper / 'etc', 'trusted.overlay.opaque', b'y')
        self.assertEqual(0, self.kind())

    def test_folders(self):
        (self.lower / 'etc/passwd').mkdir()
        self.assertEqual(stat.S_IFDIR, self.kind())
        (self.upper / 'etc').rmdir()
        (self.upper / 'etc').touch()
        self.assertEqual(0, self.kind())


class CheckTest(LayersTestCase):
    def test_each_image_is_looked_at_once(self):
        native = Native(self.layers)
        checked = user_files.UserFiles(native)
        for _ in range(2):
            checked.check('i', ['sha256:1', 'sha256:2'])
        self.assertEqual(1, len(native.asked))
        os.mkfifo(self.upper / 'etc/group')
        for _ in range(2):
            error = self.assertRaises(exception.InvalidInput, checked.check,
                                      'bad:1', ['sha256:3'])
        self.assertIn('/etc/group', str(error))
        self.assertIn('bad:1', str(error))
        self.assertEqual(['sha256:3'] * 2, native.asked[1:])

    def test_one_layer(self):
        os.mkfifo(self.upper / 'etc/passwd')
        native = Native([])
        native.mounts = [types_pb2.Mount(type='bind', source=self.layers[0],
                                         options=['ro', 'rbind'])]
        self.assertRaises(exception.InvalidInput, user_files.UserFiles(
            native).check, 'i', ['sha256:1'])

    def test_what_is_not_unpacked_here(self):
        native = Native([])
        native.mounts = None
        user_files.UserFiles(native).check('i', ['sha256:1'])
        user_files.UserFiles(native).check('i', [])
        self.assertEqual(['sha256:1'], native.asked)
