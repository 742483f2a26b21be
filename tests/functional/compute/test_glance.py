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

"""Images of Glance in a real containerd."""

from concurrent import futures
import gzip
import pathlib
import stat
import subprocess
import time
import uuid

import fixtures
from oslo_utils import units
from tests.functional import containerd
from tests.functional import images as test_images
from tests.functional import kata
from tests.unit import base
from tests.unit import image_archives

from kata_openstack.compute.images import store
from kata_openstack import exception
from kata_openstack.runtime.containerd import native

UUID = 'a5b1c2d3-0000-4000-8000-000000000001'
NAME = f'glance.invalid/{UUID}:latest'


class Case(base.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def write(self, ident=UUID, entries=None, **values):
        """Write an archive.

        :returns: its name in the folder
        """
        name = f'{ident}-{uuid.uuid4().hex}.tar'
        test_images.write(self.folder / name, 'x:1',
                          entries or test_images.busybox_entries(),
                          **{'command': ['httpd'], **values})
        return name


class GlanceTest(Case):

    def setUp(self):
        super().setUp()
        self.containerd = self.useFixture(containerd.Containerd())
        self.containerd.conf.set_override(
            'image_import_path', str(self.folder), 'compute')
        self.images = store.Images(
            self.containerd.conf, self.containerd.client,
            native.NativeClient(self.containerd.conf,
                                self.containerd.client.channel))

    def used(self):
        """Bytes in containerd's folder."""
        return int(subprocess.run(
            ['du', '--summarize', '--one-file-system', '--block-size=1',
             self.containerd.client.root()], capture_output=True,
            text=True).stdout.split()[0])

    def objects(self):
        """All that containerd has, after its garbage collection."""
        self.containerd.ctr('leases', 'create', '--id', 'gc')
        self.containerd.ctr('leases', 'delete', '--sync', 'gc')
        return {kind: {line.split()[0] for line in
                       self.containerd.ctr(*words).splitlines() if line}
                for kind, words in (
                    ('content', ('content', 'ls', '-q')),
                    ('images', ('images', 'ls', '-q')),
                    ('leases', ('leases', 'ls', '-q')),
                    ('snapshots', ('snapshots', 'ls')))}

    def assert_same(self, before):
        now = self.objects()
        self.assertEqual({}, {
            kind: (now[kind] - names, names - now[kind])
            for kind, names in before.items() if now[kind] != names})

    def test_import_inspect_delete(self):
        before = self.objects()
        file = self.write(entrypoint=['/bin/sh', '-c'], labels={
            'kata-openstack.io/needs': 'vm-template'}, more=[
                [('etc/more', b'more', 0o644)]])
        self.assertRaises(exception.ImageNotFound, self.images.import_image,
                          UUID, None, 'p')
        image = self.images.import_image(UUID, file, 'p')
        self.assertEqual(NAME, image['reference'])
        self.assertEqual((['/bin/sh', '-c'], ['httpd'], {
            'kata-openstack.io/needs': 'vm-template'}), (
                image['entrypoint'], image['command'], image['labels']))
        # it is unpacked
        self.assertEqual(image['id'], self.images.resolve(NAME, 'p')[0])
        self.assertIn('Committed', self.containerd.ctr('snapshots', 'ls'))
        added = self.objects()['snapshots'] - before['snapshots']
        self.assertEqual(1, len(added), added)  # busybox was there
        self.assertEqual(3, len(  # a layer, configuration and manifest
            self.objects()['content'] - before['content']))
        self.assertEqual(before['leases'], self.objects()['leases'])
        # and stays after a restart
        self.containerd.stop()
        self.containerd.start()
        self.assertEqual(image, self.images.import_image(UUID, None, 'p'))
        self.images.delete(image['id'])
        self.assert_same(before)

    def test_each_form_runs_on_real_snapshots(self):
        layers = []
        for entries in ([('etc', None, 0o755), ('etc/a', b'1', 0o644)],
                        [('etc/b', b'2', 0o644)]):
            layers.append(test_images._tar(entries))
        ids = set()
        for number, files in enumerate((
                image_archives.saved(layers), image_archives.hybrid(layers),
                image_archives.layout(layers),
                image_archives.layout(layers, packed=True))):
            ident = UUID[:-1] + str(number)
            (self.folder / f'{ident}.tar').write_bytes(
                image_archives.tar(files))
            image = self.images.import_image(ident, f'{ident}.tar', 'p')
            ids.add(image['id'])
            self.images.resolve(image['reference'], 'p')
        self.assertEqual(1, len(ids))

    def test_rights(self):
        file = self.write(more=[[('etc/secret', b'1', 0o600)]])
        self.images.import_image(UUID, file, 'a')
        self.images.resolve(NAME, 'a')
        self.assertRaises(exception.ImageNotFound, self.images.resolve, NAME,
                          'b')
        for policy in ('always', 'ifnotpresent', 'never'):
            self.assertRaises(exception.InvalidInput, self.images.pull, NAME,
                              policy, None, 'b')
        # Glance has allowed it
        self.images.import_image(UUID, None, 'b')
        self.images.resolve(NAME, 'b')

    def test_what_would_block_containerd(self):
        for path in ('etc/passwd', 'etc/group'):
            ident = str(uuid.uuid4())
            file = self.write(ident, more=[[
                (path, None, stat.S_IFIFO | 0o644)]])
            image = self.images.import_image(ident, file, 'p')
            error = self.assertRaises(
                exception.InvalidInput, self.images.resolve,
                image['reference'], 'p')
            self.assertIn(f'/{path}', str(error))

    def test_a_layer_that_becomes_far_larger(self):
        """As a tenant would fill the disk of the node."""
        before = self.objects()
        bomb = test_images._tar([('zeros', bytes(600 * units.Mi), 0o644)])
        files = image_archives.layout([bomb], packed=True)
        del bomb
        file = f'{UUID}.tar'
        (self.folder / file).write_bytes(image_archives.tar(files))
        most = self.used() + 100 * units.Mi
        self.images.space.free = lambda: (
            self.images.space.reserve + most - self.used())
        error = self.assertRaises(exception.NotEnoughDisk,
                                  self.images.import_image, UUID, file, 'p')
        self.assertIn('Importing an image', str(error))
        self.assertEqual(before['images'], self.objects()['images'])
        deadline = time.monotonic() + 30
        while self.used() > most - 90 * units.Mi:
            self.assertLess(time.monotonic(), deadline, 'it stays')
            time.sleep(0.2)
        self.assert_same(before)

    def test_a_bad_layer_leaves_nothing(self):
        before = self.objects()
        good = test_images._tar([('a', b'1', 0o644)])
        files = image_archives.layout([good, b'not a tar file' * 100])
        (self.folder / f'{UUID}.tar').write_bytes(image_archives.tar(files))
        self.assertRaises(exception.ImagePullFailed,
                          self.images.import_image, UUID, f'{UUID}.tar', 'p')
        self.assert_same(before)

    def test_a_layer_of_others_by_its_digest(self):
        secret = test_images._tar([('secret', b'of a', 0o644)])
        files = image_archives.layout([secret])
        (self.folder / f'{UUID}.tar').write_bytes(image_archives.tar(files))
        self.images.import_image(UUID, f'{UUID}.tar', 'a')
        before = self.objects()
        other = UUID[:-1] + '2'
        mine = image_archives.saved([secret], author='b')
        path = f'{0:064x}/layer.tar'
        for content in (test_images._tar([('mine', b'', 0o644)]),
                        gzip.compress(test_images._tar([
                            ('mine', b'', 0o644)]))):
            mine[path] = content
            (self.folder / f'{other}.tar').write_bytes(
                image_archives.tar(mine))
            self.assertRaises(exception.InvalidInput,
                              self.images.import_image, other,
                              f'{other}.tar', 'b')
        self.assert_same(before)

    def test_concurrent_imports(self):
        files = [self.write() for _ in range(6)]
        with futures.ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda file: self.images.import_image(
                UUID, file, 'p'), files))
        self.assertEqual(1, len({image['id'] for image in found}))
        # and of different images with the same layers
        idents = [str(uuid.uuid4()) for _ in range(4)]
        files = [self.write(ident, command=[ident]) for ident in idents]
        with futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(
                lambda ident, file: self.images.import_image(
                    ident, file, 'p'), idents, files))
        for image in found:
            self.images.resolve(image['reference'], 'p')


class PodTest(Case):

    def test_run(self):
        node = self.useFixture(kata.Node({
            ('compute', 'image_import_path'): str(self.folder)}))
        file = self.write(entries=[
            *test_images.busybox_entries(),
            ('etc/version', b'from glance', 0o644)], command=['sh'])
        image = node.call('import_image', UUID, file)
        (self.folder / file).unlink()
        for _ in range(2):
            pod = node.run(container={'image': image['reference']})
            self.assertEqual('from glance', node.execute(
                pod, 'cat', '/etc/version'))
            node.call('delete_pod', pod['uuid'], True)
