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

"""The clean-up after a shim that is gone finds its settings."""

import contextlib
import io
import json
import pathlib
import shutil
import subprocess
import sys
from unittest import mock

import fixtures

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.shim import bootstrap
from kata_openstack.runtime.embedded.shim import cleanup
from tests.unit import base
from tests.unit.runtime.embedded.vm import test_placing
from tests.unit import test_old_releases


class ImportsTest(base.TestCase):
    """What the shim imports before the VM's programs delays each start."""

    _CODE = """
import sys
sys.path.append({path!r})
from kata_openstack.runtime.embedded.shim import program
program.grouping.sandbox_of = lambda config, ident: {owner!r}
try:
    program.start('n', 's', False)
except Exception as e:
    print(type(e).__name__)
print(*sys.modules)
print(open('/proc/self/maps').read().count('libcrypto'))
"""

    def imported(self, owner):
        """Start a sandbox or container 's' of which no folder exists."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / 'config.json').write_text('{}')
        done = subprocess.run(
            [sys.executable, '-ISc', self._CODE.format(
                path=str(pathlib.Path(__file__).parents[5]), owner=owner)],
            check=True, capture_output=True, text=True, cwd=folder,
            stdin=subprocess.DEVNULL, env={settings.ENVIRONMENT: '/none'})
        failure, modules, libcrypto = done.stdout.splitlines()
        self.assertEqual(('StartFailed', '0'), (failure, libcrypto))
        return set(modules.split())

    def test_of_a_sandbox(self):
        found = self.imported('s')
        self.assertIn('kata_openstack.runtime.embedded.vm.machine', found)
        self.assertEqual(set(), found & {
            '_ssl', 'asyncio', 'concurrent.futures', 'logging', 'site',
            'subprocess'})

    def test_of_a_container(self):
        self.assertEqual(set(), self.imported('another') & {
            'asyncio', 'ctypes', 'dataclasses', 'hashlib', 'inspect',
            'socket', 'kata_openstack.runtime.embedded.shim.bootstrap'})


class DeleteTest(base.TestCase):

    def setUp(self):
        super().setUp()
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.bundle = folder / 'bundle'
        self.bundle.mkdir()
        self.installed = folder / 'embedded.json'
        self.used = test_placing.config(run_path='/run/before')
        self.used.save(str(self.installed))
        (self.bundle / 'kata-embedded').write_text(str(self.installed))

    def delete(self):
        """Return the settings that were used, and the error output."""
        with (mock.patch.object(cleanup, 'clean_up') as clean_up,
              contextlib.redirect_stderr(io.StringIO()) as errors):
            bootstrap.delete('n', 's', str(self.bundle), {})
        return [call.args[0] for call in clean_up.call_args_list
                ], errors.getvalue()

    def test_sandbox_of_an_older_release(self):
        """Its bundle has only the path of the settings."""
        self.assertEqual(([self.used], ''), self.delete())
        shutil.copy(test_old_releases.STORED / 'embedded.json',
                    self.installed)
        (found,), errors = self.delete()
        self.assertEqual(('/run/kata-openstack/embedded', ''),
                         (found.run_path, errors))

    def test_settings_that_changed_since(self):
        self.used.save(str(self.bundle / 'kata-embedded.json'))
        for content in ('{', json.dumps({'run_path': 1}), ''):
            self.installed.write_text(content)
            self.assertEqual(([self.used], ''), self.delete())
        test_placing.config(run_path='/run/after').save(str(self.installed))
        self.assertEqual(([self.used], ''), self.delete())

    def test_no_settings_at_all(self):
        self.installed.write_text('{')
        found, errors = self.delete()
        self.assertEqual([], found)
        self.assertIn('could not clean up after sandbox s', errors)
