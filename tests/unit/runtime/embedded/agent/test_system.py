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

"""Set-up of the guest."""

from unittest import mock

from kata_openstack.runtime.embedded.agent import crun
from kata_openstack.runtime.embedded.agent import system
from tests.unit.runtime.embedded.image import base


class TestContainersLimit(base.FolderTestCase):
    def test_containers_never_get_all_of_the_memory(self):
        # in a large VM, the kernel keeps more for itself
        for free, available in ((170000, 180000), (180000, 170000)):
            self.check(f'MemTotal:  220000 kB\nMemFree:  {free} kB\n'
                       f'MemAvailable: {available} kB\n')

    def check(self, meminfo):
        with (mock.patch.object(system, 'CGROUPS', str(self.folder)),
              mock.patch.object(system, 'read', return_value=meminfo)):
            system.limit_containers()
            own = crun.cgroup('c')
        folder = self.folder / 'containers'
        self.assertEqual(str(folder / 'c'), own)
        limit = int((folder / 'memory.max').read_text())
        self.assertEqual((170000 - 10 * 1024) * 1024, limit)
        self.assertIn('+memory', (
            folder / 'cgroup.subtree_control').read_text())
