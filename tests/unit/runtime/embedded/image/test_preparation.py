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

import json
import pathlib
from unittest import mock

import fixtures
from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.image import preparation
from kata_openstack.runtime.host import roots
from tests.unit import base
from tests.unit.runtime.host import hosts


class TestFormerTemplates(base.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.settings = self.root / 'embedded.json'

    def memory(self, name):
        """A folder for the memory of VMs, which the settings name."""
        memory = self.root / name
        memory.mkdir()
        (memory / 'template-256m1c-0123456789abcdef.ram').touch()
        self.settings.write_text(json.dumps({'memory_path': str(memory)}))
        return memory

    def test_both_files_go(self):
        memory = self.memory('kata-openstack-0a1b2c3d')
        (self.root / 'template-256m1c-0123456789abcdef.state').touch()
        (self.root / 'initrd').touch()
        for _ in range(2):
            preparation._forget_former_templates(self.settings)
            self.assertFalse(memory.exists())
            self.assertEqual({'initrd', 'embedded.json'},
                             {path.name for path in self.root.iterdir()})

    def test_no_other_folder_goes(self):
        memory = self.memory('shm')
        preparation._forget_former_templates(self.settings)
        self.assertTrue(memory.exists())

    def test_settings_without_it(self):
        for content in (None, '', '[]', '{}', '{"memory_path": ""}'):
            if content is not None:
                self.settings.write_text(content)
            preparation._forget_former_templates(self.settings)


class TestPrograms(base.TestCase):
    def test_a_missing_program_is_told_as_the_host_check_tells_it(self):
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        conf([], default_config_files=[])
        record = hosts.recorded(
            self, programs=('qemu-system-x86_64',),
            files={'etc/os-release': 'ID=debian\nVERSION_ID="13"\n'})
        self.useFixture(fixtures.MonkeyPatch(
            'platform.machine', lambda: 'x86_64'))
        with mock.patch.object(roots.Roots, 'configured',
                               return_value=record.roots):
            error = self.assertRaises(errors.ProgramMissing,
                                      preparation.prepare, conf, 'tcg', print)
        known = record.probe().virtiofsd
        self.assertEqual(f'{known.reason}. {known.remedy}', str(error))
        self.assertIn('apt-get install virtiofsd', known.remedy)
