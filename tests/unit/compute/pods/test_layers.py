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

"""The writable layer moves from one container to the next."""

import os
import pathlib
import shutil

import fixtures
from tests.unit import base

from kata_openstack.compute.pods import layers
from kata_openstack.runtime.containerd.protos import types_pb2


class HandoverTest(base.TestCase):
    """A crash at any step, in either direction, loses no files."""

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.left = None  # renames before the crash; None: no crash
        self.useFixture(fixtures.MonkeyPatch('os.rename', self.rename))

    def rename(self, source, target, real=os.rename):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise OSError('injected')
        real(source, target)

    def mounts(self, container_id):
        return [types_pb2.Mount(type='overlay', options=[
            f'upperdir={self.root}/{container_id}/fs'])]

    def handover(self):
        return layers.Handover(self, 'old', 'new')

    def make(self):
        for name in ('old', 'new'):
            shutil.rmtree(self.root / name, ignore_errors=True)
            (self.root / name / 'fs').mkdir(parents=True)
            (self.root / name / 'fs' / 'of').write_text(name)

    def die(self, method, left):
        self.left = left
        self.assertRaises(OSError, method)
        self.left = None

    def assert_files(self, *expected):
        self.assertEqual(expected, tuple(
            (self.root / name / 'fs' / 'of').read_text()
            for name in ('old', 'new')))
        self.assertEqual(['fs'], os.listdir(self.root / 'old'))

    def test_repeated(self):
        self.make()
        for _ in range(2):
            self.handover().give()
            self.assert_files('new', 'old')
        for _ in range(2):
            self.handover().take_back()
            self.assert_files('old', 'new')
            self.assertEqual(['fs'], os.listdir(self.root / 'new'))

    def test_death_while_given(self):
        for left in range(3):
            self.make()
            self.die(self.handover().give, left)
            self.handover().give()
            self.assert_files('new', 'old')

            self.make()
            self.die(self.handover().give, left)
            self.handover().take_back()
            self.assert_files('old', 'new')

    def test_death_while_taken_back(self):
        for left in range(3):
            self.make()
            self.handover().give()
            self.die(self.handover().take_back, left)
            self.handover().take_back()
            self.assert_files('old', 'new')

            self.make()
            self.handover().give()
            self.die(self.handover().take_back, left)
            self.handover().give()
            self.assert_files('new', 'old')

    def test_what_was_handed_on_is_let_be(self):
        self.make()
        self.handover().give()
        os.rename(self.root / 'new' / 'fs', self.root / 'newer')
        (self.root / 'new' / 'fs').mkdir()
        (self.root / 'new' / 'fs' / 'of').write_text('newer')
        self.handover().give()
        self.assert_files('new', 'newer')
