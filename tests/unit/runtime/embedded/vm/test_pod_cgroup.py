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

import errno
import os
import pathlib

import fixtures

from kata_openstack.runtime.embedded.vm import pod_cgroup
from tests.unit import base


class RemoveTest(base.TestCase):

    def setUp(self):
        super().setUp()
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.embedded.vm.pod_cgroup._ROOT', str(root)))
        (root / 'cgroup.controllers').touch()
        self.folder = root / 'pod'
        self.folder.mkdir()
        self.procs = self.folder / 'cgroup.procs'
        self.procs.touch()
        self.busy = 0
        self.calls = 0
        self.useFixture(fixtures.MonkeyPatch('os.rmdir', self._rmdir))
        self.group = pod_cgroup.Cgroup('/pod')

    def _rmdir(self, path):
        """As the kernel: refuse while a process exits."""
        self.assertEqual(str(self.folder), path)
        self.calls += 1
        if not os.path.exists(path):
            raise FileNotFoundError(path)
        if self.calls <= self.busy:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    def test_limits(self):
        for name in ('memory.max', 'memory.swap.max', 'pids.max'):
            (self.folder / name).touch()
        self.group.create(1 << 28)
        self.assertEqual(['268435456', '0'], [
            (self.folder / name).read_text()
            for name in ('memory.max', 'memory.swap.max')])
        self.assertFalse((self.folder / 'memory.swappiness').exists())

    def test_it_waits_for_a_process_that_exits(self):
        self.busy = 3
        self.group.remove()
        self.assertEqual(4, self.calls)

    def test_it_tells_whether_the_cgroup_is_gone(self):
        self.assertFalse(self.group.remove())
        self.folder.rename(self.folder.parent / 'gone')
        self.assertTrue(self.group.remove())

    def test_a_cgroup_that_others_use_stays(self):
        self.busy = 1000
        self.procs.write_text('1\n')
        self.group.remove()
        self.assertEqual(1, self.calls)

    def test_a_cgroup_with_a_child_stays(self):
        self.busy = 1000
        (self.folder / 'child').mkdir()
        self.group.remove()
        self.assertEqual(1, self.calls)
