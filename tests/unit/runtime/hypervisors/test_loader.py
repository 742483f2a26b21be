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

from importlib import metadata

import fixtures

from kata_openstack.runtime.hypervisors import base as hypervisors
from kata_openstack.runtime.hypervisors import loader
from tests.unit import base


class Asserting:
    def __init__(self):
        raise AssertionError('not today')


class TestLoader(base.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.forget()
        self.addCleanup(self.forget)

    def forget(self):
        loader.installed.cache_clear()
        loader._in_order.cache_clear()

    def plugins(self, **targets):
        self.useFixture(fixtures.MockPatch(
            'stevedore.extension.ExtensionManager.list_entry_points',
            side_effect=lambda *args: [
                metadata.EntryPoint(name, target, loader.NAMESPACE)
                for name, target in targets.items()]))

    def test_our_own(self):
        installed = loader.installed()
        self.assertLessEqual({'qemu', 'clh', 'embedded'}, set(installed))
        self.assertEqual('', self.log.output)

    def test_every_plugin_states_sound_facts(self):
        for plugin in loader.installed().values():
            for handler in plugin.facts.handlers:
                self.assertLessEqual(handler.offers, set(hypervisors.OFFERS))
            self.assertTrue(plugin.facts.accelerators)
            self.assertGreater(plugin.facts.overhead_mib, 0)

    def test_a_broken_plugin_is_one_line(self):
        self.plugins(
            broken='kata_openstack.no_such_module:X',
            qemu='kata_openstack.runtime.hypervisors.upstream:Qemu')
        self.assertEqual({'qemu'}, set(loader.installed()))
        lines = self.log.output.splitlines()
        self.assertEqual(1, len(lines), lines)
        self.assertIn('broken', lines[0])
        self.assertIn('ModuleNotFoundError', lines[0])

    def test_one_that_asserts_is_no_worse(self):
        self.plugins(
            asserting=f'{__name__}:Asserting',
            qemu='kata_openstack.runtime.hypervisors.upstream:Qemu')
        self.assertEqual({'qemu'}, set(loader.installed()))
        self.assertIn('asserting', self.log.output)
        self.assertIn('AssertionError: not today', self.log.output)

    def test_something_else_is_no_plugin(self):
        self.plugins(strange='builtins:dict')
        self.assertEqual({}, loader.installed())
        self.assertIn('strange', self.log.output)

    def test_the_order_counts(self):
        self.assertEqual(['embedded', 'clh'],
                         list(loader.in_order(['embedded', 'clh'])))

    def test_an_unknown_name_is_one_line(self):
        for _ in range(2):  # the second call logs nothing
            self.assertEqual(
                ['qemu'], list(loader.in_order(['xen', 'nemu', 'qemu'])))
        lines = self.log.output.splitlines()
        self.assertEqual(2, len(lines))
        self.assertIn('known names are: clh, dragonball, embedded, fc, ',
                      lines[0])
        self.assertIn('its successor is clh', lines[1])
