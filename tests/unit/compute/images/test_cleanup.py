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

"""Unused images go, and only those that a pull of ours brought."""

from unittest import mock

from tests.unit.compute.images import test_store
from tests.unit.compute.images.test_store import HERE
from tests.unit.compute.images.test_store import NAME

from kata_openstack.compute.images import cleanup
from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

_DAY = 24 * 3600


class Case(test_store.Case):

    def setUp(self):
        super().setUp()
        self.now = 1_800_000_000
        self.enterContext(mock.patch('time.time', lambda: self.now))
        self.state.registry = {NAME: 'sha256:app', 'r.test/b:1': 'sha256:b'}
        self.free = self.images.space.reserve * 4
        self.images.space.free = lambda: self.free

    def run_after(self, days):
        self.now += days * _DAY
        self.images.cleanup.run()
        return set(self.state.images)


class AgeTest(Case):

    def test_age(self):
        self.images.pull(NAME, 'always', None, 'a')
        self.assertIn(NAME, self.run_after(29))
        self.images.resolve(NAME, 'a')  # a container was created
        self.assertIn(NAME, self.run_after(29))
        self.images.pull(NAME, 'ifnotpresent', None, 'a')
        self.assertIn(NAME, self.run_after(29))
        self.assertEqual({HERE}, self.run_after(2))

    def test_never(self):
        self.conf.set_override('unused_image_days', 0, 'compute')
        self.images = self.new()
        self.images.space.free = lambda: self.free
        self.images.pull(NAME, 'always', None, 'a')
        self.assertIn(NAME, self.run_after(9999))

    def test_an_image_of_others_stays(self):
        self.state.registry[HERE] = 'sha256:1'  # as on the node already
        self.images.pull(HERE, 'always', None, 'a')
        self.assertEqual({HERE}, self.run_after(99))

    def test_an_image_that_others_pulled_too_stays(self):
        for name in ('r.test/app:theirs', f'r.test/copy@sha256:{"5" * 64}'):
            self.images.pull(NAME, 'always', None, 'a')
            self.state.images[name] = 'sha256:app'
            self.assertIn(NAME, self.run_after(99))
            del self.state.images[name]
        self.assertEqual({HERE}, self.run_after(0))

    def test_its_own_digest_is_not_of_others(self):
        self.images.pull(NAME, 'always', None, 'a')
        self.state.images[f'r.test/app@sha256:{"5" * 64}'] = 'sha256:app'
        self.assertEqual({HERE}, self.run_after(99))

    def test_an_image_with_a_stopped_container_stays(self):
        self.images.pull(NAME, 'always', None, 'a')
        self.state.create(pb.Container(id='c', image_ref='sha256:app',
                                       state=pb.CONTAINER_EXITED))
        self.assertIn(NAME, self.run_after(99))
        self.state.remove('c')
        self.assertEqual({HERE}, self.run_after(0))

    def test_an_image_that_is_being_pulled_stays(self):
        self.images.pull(NAME, 'always', None, 'a')
        seen = []
        self.state.during_pull = lambda request: seen.append(
            self.run_after(99))
        self.images.pull(NAME, 'always', None, 'a')
        self.assertEqual(1, len(seen))
        self.assertIn(NAME, seen[0])
        self.assertIn(NAME, self.run_after(0))

    def test_a_damaged_label(self):
        self.images.pull(NAME, 'always', None, 'a')
        self.state.image_labels['sha256:app'][cleanup.PULLED] = 'x y'
        self.assertIn(NAME, self.run_after(99))


class SpaceTest(Case):

    def setUp(self):
        super().setUp()
        for name in (NAME, 'r.test/b:1'):
            self.images.pull(name, 'always', None, 'a')
            self.now += 7200

    def removed(self, ident):
        return ident not in self.state.images.values()

    def test_the_longest_unused_goes_first(self):
        self.images.space.free = lambda: self.images.space.reserve * (
            2 if self.removed('sha256:app') else 0)
        self.state.registry['r.test/c:1'] = 'sha256:c'
        self.images.pull('r.test/c:1', 'always', None, 'a')
        self.assertTrue(self.removed('sha256:app'))
        self.assertFalse(self.removed('sha256:b'))
        self.assertFalse(self.removed('sha256:c'))

    def test_a_full_disk_refuses_a_pull(self):
        self.free = 5 << 20
        pulls = len(self.pulls())
        self.images.resolve('r.test/b:1', 'a')  # used now
        error = self.assertRaises(exception.NotEnoughDisk, self.images.pull,
                                  'r.test/c:1', 'always', None, 'a')
        self.assertIn('1024 MiB', str(error))
        self.assertIn('5 MiB', str(error))
        self.assertEqual(pulls, len(self.pulls()))
        self.assertEqual({HERE, 'r.test/b:1'}, set(self.state.images))
