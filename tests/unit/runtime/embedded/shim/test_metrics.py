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

"""Metrics of a container."""

from kata_openstack.runtime.embedded.shim import metrics
from kata_openstack.runtime.embedded.shim.wire import messages
from tests.unit import base


class TestMetrics(base.TestCase):
    def decode(self, raw):
        stats = metrics.encode(raw)['stats']
        self.assertEqual(messages.METRICS_TYPE, stats['type_url'])
        return messages.METRICS.decode(stats['value'])

    def test_figures(self):
        found = self.decode({
            'memory.current': 10, 'memory.max': -1, 'pids.current': 3,
            'pids.max': -1, 'cpu.stat': {'usage_usec': 7, 'odd': 1},
            'memory.stat': {'inactive_file': 4},
            'memory.events': {'oom_kill': 1}})
        self.assertEqual(10, found['memory']['usage'])
        self.assertEqual((1 << 64) - 1, found['memory']['usage_limit'])
        self.assertEqual(4, found['memory']['inactive_file'])
        self.assertEqual({'current': 3, 'limit': 0}, found['pids'])
        self.assertEqual(7, found['cpu']['usage_usec'])
        self.assertEqual(1, found['memory_events']['oom_kill'])

    def test_a_lying_guest(self):
        found = self.decode({
            'memory.current': 'x', 'memory.max': 1 << 90,
            'pids.current': [1], 'cpu.stat': [], 'memory.stat': None,
            'memory.events': {'oom_kill': {}}})
        self.assertEqual(0, found['memory']['usage'])
        self.assertEqual((1 << 64) - 1, found['memory']['usage_limit'])
        found = self.decode({
            'cpu.stat': {'psi': 1}, 'cpu.pressure': {
                'some': {'avg10': float('nan'), 'avg60': -1, 'avg300': 'x',
                         'total': -1, 'more': 1}, 'full': 5},
            'memory.pressure': 7})
        self.assertEqual(
            {'avg10': 0.0, 'avg60': 0.0, 'avg300': 0.0,
             'total': (1 << 64) - 1}, found['cpu']['psi']['some'])
        self.assertIsNone(found['cpu']['psi']['full'])
        self.assertIsNone(found['memory']['psi'])

    def test_pressure(self):
        some = {'avg10': 0.5, 'avg60': 12.25, 'avg300': 0.0, 'total': 1234}
        full = dict.fromkeys(some, 0)
        raw = {'some': some, 'full': full}
        found = self.decode({f'{name}.pressure': raw
                             for name in ('cpu', 'memory', 'io')})
        for name in ('cpu', 'memory', 'io'):
            self.assertEqual(raw, found[name]['psi'])
