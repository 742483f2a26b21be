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

"""Launchers and the command that writes one."""

import os
import pathlib
import subprocess
import sys
from unittest import mock

import fixtures

from kata_openstack.cli import containerd
from kata_openstack.runtime import launcher
from tests.unit import base


class LauncherTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def run_program(self, path, *arguments, **variables):
        return subprocess.run(
            [path, *arguments], capture_output=True, text=True,
            stdin=subprocess.DEVNULL, cwd='/',
            env={'PATH': os.environ['PATH'], **variables})

    def test_the_shim(self):
        done = self.run_program(launcher.SHIM.write(self.folder), '-v')
        self.assertEqual((0, 'containerd-shim-kata-embedded-v2\n', ''),
                         (done.returncode, done.stdout, done.stderr))
        done = self.run_program(launcher.SHIM.write(self.folder), 'start')
        self.assertEqual(1, done.returncode)
        self.assertIn('missing -id', done.stderr)

    def test_the_plugin(self):
        done = self.run_program(launcher.CNI.write(self.folder),
                                CNI_COMMAND='VERSION')
        self.assertEqual(1, done.returncode)
        self.assertIn('is not valid JSON', done.stdout)

    def test_no_site_and_no_variables(self):
        path = launcher.SHIM.write(self.folder)
        text = path.read_text().replace(
            'from kata_openstack.cmd.shim import main',
            'main = lambda: print(*sys.modules, *sys.path)')
        path.write_text(text)
        told = self.run_program(path, PYTHONPATH='/elsewhere').stdout.split()
        self.assertIn('sys', told)
        self.assertNotIn('site', told)
        self.assertNotIn('/elsewhere', told)

    def test_interpreters_with_unusual_paths(self):
        for name in ('with a space', 'x' * 140, "it's"):
            python = self.folder / name
            python.symlink_to(sys.executable)
            script = self.folder / 'script'
            script.write_text(launcher.shebang(str(python))
                              + '\nimport sys\nprint(*sys.argv[1:])\n')
            script.chmod(0o755)
            done = self.run_program(script, 'a b', 'c')
            self.assertEqual(('a b c\n', ''), (done.stdout, done.stderr))

    def test_another_installation(self):
        path = launcher.CNI.write(self.folder)
        self.assertEqual(path, launcher.CNI.find(self.folder))
        self.assertIsNone(launcher.SHIM.find(self.folder))
        path.write_bytes(b'\xff')
        self.assertIsNone(launcher.CNI.find(self.folder))
        with mock.patch.object(sys, 'executable', '/another/python3'):
            launcher.CNI.write(self.folder)
        self.assertIsNone(launcher.CNI.find(self.folder))

    def test_a_link_to_the_script_of_pip_is_replaced(self):
        script = self.folder / 'script'
        script.write_text('of pip')
        (self.folder / 'kata-cni').symlink_to(script)
        launcher.CNI.write(self.folder)
        self.assertEqual('of pip', script.read_text())
        self.assertEqual(['kata-cni', 'script'],
                         sorted(os.listdir(self.folder)))

    def test_command(self):
        app = mock.Mock()
        plugin = containerd.Plugin(app, None)
        wanted = plugin.get_parser('').parse_args([str(self.folder)])
        self.assertEqual(0, plugin.take_action(wanted))
        self.assertIsNotNone(launcher.CNI.find(self.folder))
        app.stdout.write.assert_called_once_with(f'{self.folder}/kata-cni\n')
        wanted.folder = self.folder / 'missing'
        self.assertEqual(1, plugin.take_action(wanted))
        self.assertIn(f'{wanted.folder}: No such file or directory',
                      app.LOG.error.call_args.args[0])
