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

"""Memory."""


from tests.unit.runtime.host.checks import base


class TestMemory(base.CheckTestCase):
    def test_sizes(self):
        memory = self.host(files={
            'proc/meminfo': 'MemTotal:  2097152 kB\n'
                            'MemAvailable:   102400 kB\n',
            'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '8\n',
            'sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages': '5\n',
            'sys/kernel/mm/ksm/run': '1\n'}).memory
        self.assertEqual((2048, 100, 16384), (
            memory.total_mib, memory.available_mib, memory.shm_total_mib))
        pool = memory.hugepages[0]
        self.assertEqual((2048, 8, 5),
                         (pool.size_kib, pool.total, pool.free))
        self.assertIs(True, memory.ksm)
        self.assertIn('Stop other programs', memory.remedy)

    def test_without_shm(self):
        memory = self.host(shm_mib=None).memory
        self.assertIsNone(memory.shm_total_mib)
        self.assertFalse(memory.shm_suffices)
