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

"""The figures of a cgroup."""

import os
import pathlib

import fixtures

from kata_openstack.runtime.embedded.common import figures
from kata_openstack.runtime.embedded.vm import pod_cgroup
from tests.unit import base

_V1 = {
    'memory/pod/memory.usage_in_bytes': '4096\n',
    'memory/pod/memory.limit_in_bytes': '8192\n',
    'memory/pod/memory.stat': 'cache 1\ntotal_cache 5\n'
                              'total_inactive_file 3\n',
    'cpu/pod/cpu.stat': 'nr_periods 1\nnr_throttled 2\n'
                        'throttled_time 3000\n',
    'cpuacct/pod/cpuacct.usage': '7000\n',
    'cpuacct/pod/cpuacct.stat': 'user 1\nsystem 2\n',
    'pids/pod/pids.current': '12\n', 'pids/pod/pids.max': 'max\n'}


class FiguresTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def write(self, files):
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def test_files_of_cgroup_v2(self):
        self.write({
            'memory.current': '4096\n', 'memory.max': 'max\n',
            'cpu.stat': 'usage_usec 7\nuser_usec 3\n',
            'memory.high': 'not asked for\n',
            'io.pressure': 'some avg10=0.50 avg60=1.00 avg300=0.00 total=9\n'
                           'full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n'
        })
        nothing = {'avg10': 0.0, 'avg60': 0.0, 'avg300': 0.0, 'total': 0}
        self.assertEqual({
            'memory.current': 4096, 'memory.max': -1,
            'cpu.stat': {'usage_usec': 7, 'user_usec': 3},
            'io.pressure': {'some': {'avg10': 0.5, 'avg60': 1.0,
                                     'avg300': 0.0, 'total': 9},
                            'full': nothing}},
            figures.read(str(self.root)))

    def test_a_file_that_the_kernel_does_not_count(self):
        os.mkdir(self.root / 'cpu.pressure')
        self.assertEqual({}, figures.read(str(self.root)))

    def test_no_cgroup(self):
        self.assertRaises(FileNotFoundError, figures.read,
                          str(self.root / 'none'))

    def pod(self):
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.embedded.vm.pod_cgroup._ROOT',
            str(self.root)))
        return pod_cgroup.Cgroup('/pod').figures()

    def test_a_pod_on_a_host_with_cgroup_v1(self):
        self.write(_V1)
        tick = 1_000_000 // os.sysconf('SC_CLK_TCK')
        self.assertEqual({
            'memory.current': 4096, 'memory.max': 8192,
            'memory.stat': {'file': 5, 'inactive_file': 3},
            'pids.current': 12, 'pids.max': -1,
            'cpu.stat': {'usage_usec': 7, 'user_usec': tick,
                         'system_usec': 2 * tick, 'nr_periods': 1,
                         'nr_throttled': 2, 'throttled_usec': 3}},
            self.pod())

    def test_a_pod_on_a_host_with_cgroup_v2(self):
        self.write({'cgroup.controllers': '', 'pod/memory.current': '5\n'})
        self.assertEqual({'memory.current': 5}, self.pod())
