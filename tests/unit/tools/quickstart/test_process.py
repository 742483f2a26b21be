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

"""Processes are identified by PID and start time, and by the marker."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import fixtures

from tests.unit import base
from tools.quickstart import process
from tools.quickstart import settings


class ProcessTest(base.TestCase):

    def setUp(self):
        super().setUp()
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        state = root / 'state'
        self.stack = settings.Stack(
            state=state, repository=root, port_base=1, host='here',
            passwords={})
        for folder in (self.stack.run, self.stack.logs):
            folder.mkdir(parents=True)

    def start(self, *code):
        started = process.start(
            self.stack, 'sleeper',
            [sys.executable, '-c', '; '.join(code)], {})
        self.addCleanup(started.send, signal.SIGKILL)
        return started

    def test_found_by_its_pid_file(self):
        started = self.start('import time', 'time.sleep(60)')
        self.assertEqual(started, process.find(self.stack, 'sleeper'))
        process.end([started])
        self.assertIsNone(process.find(self.stack, 'sleeper'))

    def test_a_recycled_pid_is_another_process(self):
        other = process.Process(
            os.getpid(), process.start_time(os.getpid()) + 1)
        self.assertFalse(other.alive)
        other.send(signal.SIGKILL)  # must not reach this process

    def test_one_that_ignores_sigterm_is_killed(self):
        started = self.start(
            'import os, signal, time',
            'signal.signal(signal.SIGTERM, signal.SIG_IGN)',
            f'open("{self.stack.run}/ready", "w").close()',
            'time.sleep(60)')
        while not (self.stack.run / 'ready').exists():
            self.assertTrue(started.alive)
        process.end([started], 0.1)
        self.assertFalse(started.alive)

    def test_a_detached_grandchild_is_found_by_the_marker(self):
        started = self.start(
            'import subprocess, sys',
            'subprocess.Popen(["sleep", "60"], start_new_session=True)')
        while started.alive:
            process.wait_gone([started], 0.1)
        left, = process.of_stack(self.stack)
        self.addCleanup(left.send, signal.SIGKILL)
        name = pathlib.Path(f'/proc/{left.pid}/comm').read_text().strip()
        self.assertEqual('sleep', name)

    def test_a_child_with_another_environment_is_ours(self):
        started = self.start(
            'import subprocess',
            'subprocess.run(["sleep", "60"], env={})')
        self.addCleanup(started.send, signal.SIGKILL)
        deadline = time.monotonic() + 30
        names = []
        while 'sleep' not in names and time.monotonic() < deadline:
            found = process.of_stack(self.stack)
            names = [pathlib.Path(f'/proc/{p.pid}/comm').read_text().strip()
                     for p in found]
        self.assertIn('sleep', names)
        for one in found:
            one.send(signal.SIGKILL)

    def test_a_reader_of_our_files_is_left_alone(self):
        log = self.stack.logs / 'sleeper.log'
        log.touch()
        reader = subprocess.Popen(['tail', '-f', str(log)],
                                  stdout=subprocess.DEVNULL)
        self.addCleanup(reader.wait)
        self.addCleanup(reader.kill)
        self.assertEqual([], process.of_stack(self.stack))

    def test_a_service_gets_nothing_of_the_shell(self):
        self.useFixture(fixtures.EnvironmentVariable('COLOUR', 'green'))
        started = self.start('import os',
                             'print(os.environ.get("COLOUR"))')
        process.wait_gone([started], 10)
        self.assertIn('None', (self.stack.logs / 'sleeper.log').read_text())

    def test_a_failed_command_shows_the_end_of_its_output(self):
        error = self.assertRaises(
            settings.QuickstartError, process.run, self.stack,
            ['sh', '-c', 'echo the cause; exit 3'], 'command')
        self.assertIn('the cause', str(error))
        self.assertIn('failed with exit code 3', str(error))
