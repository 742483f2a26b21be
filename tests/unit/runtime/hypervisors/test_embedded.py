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

"""The embedded handler needs a guest image that its shim understands."""

import dataclasses
import pathlib
from unittest import mock

import fixtures
from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.hypervisors import base as hypervisors
from kata_openstack.runtime.hypervisors import embedded
from kata_openstack.runtime import launcher
from tests.unit import base
from tests.unit.runtime.embedded.vm import test_placing


class JudgeTest(base.TestCase):

    def setUp(self):
        super().setUp()
        state = self.useFixture(fixtures.TempDir()).path
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.conf([], default_config_files=[])
        self.conf.set_override('state_path', state)
        self.path = pathlib.Path(state) / 'embedded' / 'embedded.json'
        self.path.parent.mkdir()

    def judge(self):
        plugin = embedded.Embedded()
        verdict = hypervisors.Verdict(usable=True, reason='KVM works',
                                      accelerator='kvm')
        with mock.patch.object(hypervisors.Hypervisor, 'judge',
                               return_value=verdict):
            return plugin.judge(plugin.facts.handlers[0], None, {}, self.conf)

    def test_not_prepared(self):
        self.assertTrue(self.judge().usable)
        self.assertIn('embedded prepare --accelerator kvm',
                      self.judge().remedy)

    def test_guest_images(self):
        config = test_placing.config(accelerator='kvm',
                                     protocol=protocol.VERSION)
        config.save(str(self.path))
        self.assertEqual((True, ''),
                         (self.judge().usable, self.judge().remedy))
        for changes in ({'protocol': protocol.VERSION + 1},
                        {'memory_mib': 0}):
            dataclasses.replace(config, **changes).save(str(self.path))
            verdict = self.judge()
            self.assertFalse(verdict.usable)
            self.assertIn('another release', verdict.reason)
            self.assertIn('embedded prepare', verdict.remedy)

    def test_prepared_for_emulation(self):
        """Its VMs must not count as isolated by hardware."""
        test_placing.config(accelerator='tcg', protocol=protocol.VERSION
                            ).save(str(self.path))
        verdict = self.judge()
        self.assertFalse(verdict.usable)
        self.assertIn('for tcg, but this node uses kvm', verdict.reason)
        self.assertIn('embedded prepare --accelerator kvm', verdict.remedy)

    def test_damaged_settings(self):
        self.path.write_text('{')
        verdict = self.judge()
        self.assertFalse(verdict.usable)
        self.assertIn(str(self.path), verdict.reason)
        self.assertIn('embedded prepare', verdict.remedy)

    def test_the_launcher_is_used_if_it_is_of_this_installation(self):
        plugin = embedded.Embedded()

        def program():
            return plugin.files(plugin.facts.handlers[0], None,
                                self.conf).runtime_path

        script = program()
        written = launcher.SHIM.write(self.path.parent)
        self.assertEqual(written, program())
        written.write_text(written.read_text().replace('IS', 'I'))
        self.assertEqual(script, program())
        launcher.SHIM.write(self.path.parent)
        written.chmod(0o600)
        self.assertEqual(script, program())
