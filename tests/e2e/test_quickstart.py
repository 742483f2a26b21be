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

"""Properties of the stack that tools/quickstart.sh promises."""

import pathlib
import subprocess

from tests.e2e import base
from tools.quickstart import process


class QuickstartAloneTest(base.AloneTestCase):

    def quickstart(self, *arguments):
        stack = base.stack()
        return subprocess.run(
            [str(stack.repository / 'tools/quickstart.sh'), '--state-dir',
             str(stack.state), *arguments], capture_output=True, text=True)

    def test_status(self):
        container = self.run_container()
        done = self.quickstart('status')
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertNotIn('down', done.stdout)
        self.assertIn(container.uuid, done.stdout)

    def test_environment(self):
        done = self.quickstart('env')
        self.assertEqual(0, done.returncode, done.stderr)
        shown = subprocess.run(
            ['bash', '-c', done.stdout + '\nopenstack project show -f value '
                                         '-c name "$OS_PROJECT_NAME"\n'
                                         'kata-openstack host check'],
            capture_output=True, text=True)
        self.assertEqual(0, shown.returncode, shown.stderr)
        self.assertEqual('demo', shown.stdout.splitlines()[0])
        self.assertIn('kata-embedded', shown.stdout)

    def test_a_second_start_leaves_all_as_it_is(self):
        container = self.run_container()
        before = {path.name: path.read_text()
                  for path in base.stack().run.glob('*.pid')}
        done = self.quickstart('up', '--no-proof')
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(before, {
            path.name: path.read_text()
            for path in base.stack().run.glob('*.pid')})
        self.assertEqual('ok', self.output(container, 'echo ok'))

    def test_everything_listens_on_loopback(self):
        ours = {ours.pid for ours in process.of_stack(base.stack())}
        listed = subprocess.run(['ss', '-ltnpH'], capture_output=True,
                                text=True, check=True).stdout
        found = 0
        for line in listed.splitlines():
            pids = {int(part.split(',')[0])
                    for part in line.split('pid=')[1:]}
            if pids & ours:
                found += 1
                address = line.split()[3].rpartition(':')[0]
                self.assertIn(address, ('127.0.0.1', '[::1]'), line)
        self.assertGreater(found, 8)

    def test_no_password_can_be_seen(self):
        """Passwords are in no argument or log, and only in private files."""
        stack = base.stack()
        passwords = set(stack.passwords.values())
        for entry in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
            try:
                arguments = entry.read_text(errors='replace')
            except OSError:
                continue
            self.assertFalse([p for p in passwords if p in arguments])
        self.assertEqual(0o600, (stack.state / 'passwords.json').stat(
            ).st_mode & 0o777)
        self.assertEqual(0o700, stack.etc.stat().st_mode & 0o777)
        for path in stack.logs.glob('*.log'):
            text = path.read_text(errors='replace')
            self.assertFalse([p for p in passwords if p in text], path)
