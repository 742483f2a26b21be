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
import time
from unittest import mock

import fixtures
from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.image import guest_image
from kata_openstack.runtime.embedded.image import kernel
from kata_openstack.runtime.embedded.image import preparation
from kata_openstack.runtime.host import roots
from kata_openstack.runtime import launcher
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


class TestCandidate(base.TestCase):
    """A guest that only the canary uses."""

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.state = self.root / 'embedded'
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.conf([], default_config_files=[])
        self.conf.set_override('state_path', str(self.root))
        self.conf.set_override('run_path', str(self.root / 'run'))
        self.templates = []
        self.newest = self.kernel('first')
        for name, value in (
                ('_programs', lambda conf: ['/bin/sh', '/bin/sh']),
                ('_make_template',
                 lambda wanted, progress: self.templates.append(
                     wanted.image_key))):
            self.useFixture(fixtures.MockPatchObject(
                preparation, name, value))
        self.useFixture(fixtures.MockPatchObject(
            kernel, 'unpack', self.unpack))
        self.useFixture(fixtures.MockPatchObject(
            guest_image, 'build', self.build))

    def kernel(self, name):
        folder = self.state / f'{kernel.PREFIX}{name}'
        (folder / 'boot').mkdir(parents=True)
        (folder / 'boot' / f'vmlinuz-{name}').touch()
        return kernel.Kernel(folder)

    def unpack(self, package, machine, state, used, progress, newest=False):
        return kernel.Kernel(used) if used and not newest else self.newest

    def build(self, used, state, progress):
        path = state / f'{guest_image.PREFIX}{used.release}'
        path.touch()
        return f'key of {used.release}', path

    def prepare(self):
        return preparation.prepare(self.conf, 'tcg', print)

    def candidate(self):
        return preparation.prepare_candidate(self.conf, print)

    def in_use(self):
        return settings.Settings.load(
            str(self.state / settings.FILE)).kernel_release

    def test_nothing_was_prepared(self):
        self.assertIsNone(self.candidate())

    def test_the_guest_is_the_newest(self):
        before = self.prepare().read_bytes()
        self.assertIsNone(self.candidate())
        self.assertEqual(before, (self.state / settings.FILE).read_bytes())

    def test_a_newer_one_waits_for_its_canary(self):
        self.prepare()
        self.newest = self.kernel('second')
        path = self.candidate()
        self.assertEqual('second',
                         settings.Settings.load(str(path)).kernel_release)
        self.assertEqual('first', self.in_use())
        # a sandbox that starts needs both until then
        self.assertEqual(['key of first', 'key of second'], self.templates)
        self.assertEqual(path, self.candidate())
        preparation.take_over(self.conf)
        self.assertEqual('second', self.in_use())
        self.assertFalse(path.exists())
        self.assertIsNone(self.candidate())
        self.assertRaises(OSError, preparation.take_over, self.conf)

    def test_the_operators_prepare_keeps_the_guest(self):
        self.prepare()
        self.newest = self.kernel('second')
        self.prepare()
        self.assertEqual('first', self.in_use())

    def test_options_change_only_by_prepare(self):
        self.prepare()
        self.conf.set_override('guest_overhead_mib', 100, 'embedded')
        self.assertIsNone(self.candidate())

    def test_the_guest_of_another_release_is_left(self):
        path = self.prepare()
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, 'protocol': 1}))
        self.newest = self.kernel('second')
        self.assertIsNone(self.candidate())

    def test_only_root_enters_the_folder(self):
        """Whoever can open the lock could hold it."""
        self.state.chmod(0o755)
        self.prepare()
        self.assertEqual(0o700, self.state.stat().st_mode & 0o777)

    def test_former_guests_go_after_a_day(self):
        self.prepare()
        self.newest = self.kernel('second')
        (self.state / 'initrd.key').touch()
        self.candidate()
        preparation.take_over(self.conf)
        everything = {path.name for path in self.state.iterdir()}
        self.candidate()
        self.assertEqual(everything,
                         {path.name for path in self.state.iterdir()})
        later = time.time() + 90000
        with mock.patch.object(time, 'time', lambda: later):
            self.candidate()
        self.assertEqual(
            {'kernel-second', 'initrd-second', settings.FILE,
             launcher.SHIM.name, 'prepare.lock'}, {path.name for path in self.state.iterdir()})
