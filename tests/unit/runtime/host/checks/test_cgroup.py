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

"""Control groups."""


from tests.unit.runtime.host.checks import base


class TestCgroup(base.CheckTestCase):
    def test_version_2_with_delegation(self):
        cgroup = self.host(files={
            'proc/self/cgroup': '0::/system.slice/kata.service\n',
            'sys/fs/cgroup/cgroup.controllers': 'cpu io memory pids\n',
            'sys/fs/cgroup/system.slice/kata.service/cgroup.controllers':
            'memory pids\n'}).cgroup
        self.assertEqual((2, ('memory', 'pids')),
                         (cgroup.version, cgroup.delegated))
        self.assertIn('without cpu', cgroup.reason)
        self.assertIn('Delegate=yes', cgroup.remedy)

    def test_version_1(self):
        cgroup = self.host(files={
            'proc/self/cgroup': '3:cpu,cpuacct:/\n2:memory:/\n4:pids:/\n'
                                '1:name=systemd:/\n0::/\n'}).cgroup
        self.assertEqual((1, ''), (cgroup.version, cgroup.remedy))
        self.assertEqual(('cpu', 'cpuacct', 'memory', 'pids'),
                         cgroup.controllers)

    def test_none(self):
        self.assertEqual(0, self.host().cgroup.version)
