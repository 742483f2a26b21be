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

"""kata-compute as a process."""

import pathlib
import re
import signal
import socket
import stat
import subprocess
import time

import fixtures
from tests.functional import kata
from tests.unit import base


class ServiceTest(base.TestCase):

    def test_without_containerd(self):
        """It starts, logs that it can run nothing, and stops on SIGTERM."""
        root = pathlib.Path(self.useFixture(fixtures.TempDir(
            rootdir='/tmp')).path)
        (root / 'kata.conf').write_text(
            '[DEFAULT]\n'
            f'transport_url = fake://\nstate_path = {root}/lib\n'
            f'run_path = {root}/run\nlog_file = {root}/log\n'
            f'[containerd]\naddress = {root}/none.sock\n'
            f'[cni]\nsocket_path = {root}/run/cni.sock\n')
        process = subprocess.Popen(
            [str(kata.programs() / 'kata-compute'), '--config-file',
             str(root / 'kata.conf')], stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 60
        log = ''
        while 'kata-compute serves' not in log:
            self.assertLess(time.monotonic(), deadline, log)
            self.assertIsNone(process.poll())
            time.sleep(0.1)
            if (root / 'log').exists():
                log = (root / 'log').read_text()
        self.assertRegex(log, re.escape('No usable runtime handler'))
        self.assertIn('kata-embedded: not usable', log)
        self.assertIn(f'{root}/none.sock', log)
        path = root / 'run' / 'cni.sock'
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(0, process.wait(60))
        self.assertFalse(path.exists())
        self.assertNotIn('eventlet', process.stderr.read().lower())
        self.assertIn('has stopped', (root / 'log').read_text())
        process.stderr.close()
