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

"""The files move from one container to the next."""

import itertools
import os
import pathlib
import shutil
from unittest import mock

import fixtures
from tests.unit import base

from kata_openstack.compute.pods import handover
from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import types_pb2


class Death(fixtures.Fixture):
    """Lets a process die before a step that changes a folder.

    Attributes: ``left``: steps before that, None for no death; ``happened``.
    """

    left: int | None = None
    happened = False

    def _setUp(self):
        for name in ('rename', 'symlink', 'unlink'):
            self.useFixture(fixtures.MonkeyPatch(
                f'os.{name}', self.step(getattr(os, name))))

    def step(self, real):
        def step(*args, **kwargs):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    self.die()
            real(*args, **kwargs)
        return step

    def die(self):
        self.happened = True
        raise OSError('injected')


class Case(base.TestCase):
    """Three containers with a layer and two volumes each."""

    VOLUMES = ('/data', '/data/sub')

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.death = self.useFixture(Death())
        self.paths = dict.fromkeys(('old', 'new', 'newer'), self.VOLUMES)
        self.make()

    # of the native client

    def mounts(self, container_id):
        return [types_pb2.Mount(type='overlay', options=[
            f'upperdir={self.layer(container_id)}'])]

    def spec(self, container_id):
        return {'mounts': [
            {'destination': '/proc', 'type': 'proc', 'source': 'proc'},
            *({'destination': path, 'type': 'bind',
               'source': str(self.volume(container_id, path))}
              for path in self.paths[container_id])]}

    # what containerd keeps

    def layer(self, container_id):
        return self.root / 'snapshots' / container_id / 'fs'

    def volume(self, container_id, path):
        return (self.root / 'containers' / container_id / 'volumes'
                / f'{container_id}{path.replace("/", "-")}')

    def folders(self, container_id):
        return [self.layer(container_id),
                *(self.volume(container_id, p)
                  for p in self.paths[container_id])]

    def make(self):
        for name in self.paths:
            for folder in self.folders(name):
                shutil.rmtree(folder.parent, ignore_errors=True)
            for folder in self.folders(name):
                folder.mkdir(parents=True)
                (folder / 'of').write_text(name)

    def handover(self, old='old', new='new'):
        return handover.Handover(self, old, new)

    def die(self, method, left):
        """Call a method that dies after some steps.

        :returns: False if it ended before.
        """
        self.death.left = left
        try:
            method()
            return False
        except OSError as e:
            self.assertEqual('injected', str(e))
            return True
        finally:
            self.death.left = None

    def found(self, container_id):
        return [(folder / 'of').read_text()
                for folder in self.folders(container_id)]

    def assert_files(self, **expected):
        """Assert whose files each container has, and that nothing is left."""
        for name, of in expected.items():
            folders = self.folders(name)
            self.assertEqual([of] * len(folders), self.found(name), name)
            names = {entry for f in folders for entry in os.listdir(f.parent)}
            self.assertEqual({f.name for f in folders}, {
                n for n in names if not n.endswith('.kata-files')})


class HandoverTest(Case):
    """A crash at any step, in either direction, loses no files."""

    def test_repeated(self):
        for _ in range(2):
            self.handover().give()
            self.assert_files(old='new', new='old')
        for _ in range(2):
            self.handover().take_back()
            self.assert_files(old='old', new='new')
            self.assertEqual(['fs'], os.listdir(self.layer('new').parent))
        self.handover().give()
        self.handover().forget()
        self.assertEqual(['fs'], os.listdir(self.layer('new').parent))
        self.assertEqual(2, len(os.listdir(
            self.volume('new', '/data').parent)))

    def test_death_while_given(self):
        for left in itertools.count():
            self.make()
            if not self.die(self.handover().give, left):
                break
            self.handover().give()
            self.assert_files(old='new', new='old')

            self.make()
            self.die(self.handover().give, left)
            self.handover().take_back()
            self.assert_files(old='old', new='new')
        self.assertEqual(12, left)  # three folders: a mark, three renames

    def test_death_while_taken_back(self):
        for left in itertools.count():
            self.make()
            self.handover().give()
            if not self.die(self.handover().take_back, left):
                break
            self.handover().take_back()
            self.assert_files(old='old', new='new')

            self.make()
            self.handover().give()
            self.die(self.handover().take_back, left)
            self.handover().give()
            self.assert_files(old='new', new='old')
        self.assertEqual(12, left)

    def test_what_was_handed_on_is_let_be(self):
        for left in itertools.count():
            self.make()
            self.handover().give()
            dead = self.die(self.handover('new', 'newer').give, left)
            self.handover().give()
            self.handover('new', 'newer').give()
            self.assert_files(old='new', new='newer', newer='old')
            if not dead:
                break

    def test_a_former_release_moved_only_the_layer(self):
        with mock.patch.object(handover.volumes, 'folders',
                               return_value={}):
            self.handover().give()
        self.handover().give()
        self.assertEqual(['old', 'new', 'new'], self.found('new'))


class VolumesTest(Case):

    def test_the_option_of_containerd_was_changed(self):
        for old, new in (self.VOLUMES, ()), ((), self.VOLUMES):
            self.paths.update(old=old, new=new)
            error = self.assertRaises(exception.Unsupported, self.handover)
            self.assertIn('ignore_image_defined_volumes', str(error))

    def test_of_two_at_one_path_the_last_is_seen(self):
        self.paths['old'] = ('/data', '/data/')
        self.paths['new'] = ('data', '/data')
        self.make()
        (self.volume('old', '/data/') / 'of').write_text('seen')
        self.handover().give()
        self.assertEqual(['old', 'new', 'seen'], self.found('new'))

    def test_only_folders_of_the_container_itself(self):
        root = self.root / 'containers'
        for source in (root / 'newer' / 'volumes' / 'x', root / 'old' / 'x',
                       root / 'old' / 'volumes', '/etc', ''):
            client = mock.Mock()
            client.spec.return_value = {'mounts': [
                {'destination': '/data', 'type': 'bind',
                 'source': str(source)}, {'destination': '/proc'}]}
            self.assertEqual({}, handover.volumes.folders(client, 'old'))
