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

import os
import pty
import subprocess
import time

from kata_openstack.runtime.embedded.agent import guest_ps
from tests.unit.runtime.embedded.image import base


class TestProcesses(base.FolderTestCase):

    def start(self, *command, **kwargs):
        process = subprocess.Popen(command, **kwargs)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        with open(self.folder / 'cgroup.procs', 'a') as file:
            file.write(f'{process.pid}\n')
        return process.pid

    def read(self, after=0, room=10000):
        return guest_ps.read(str(self.folder), after, room)

    def test_a_process(self):
        begun = time.monotonic()
        pid = self.start('sleep', '1000')
        # until it sleeps, it loads its libraries
        while ((found := self.read()['processes'][0])['arguments']
               != 'sleep 1000' or found['state'] != 'S'):
            self.assertLess(time.monotonic(), begun + 10)
        self.assertEqual(
            (pid, 0, os.geteuid(), os.getegid(), 'sleep 1000', '', 1),
            tuple(found[name] for name in ('pid', 'ppid', 'uid', 'gid',
                                           'arguments', 'tty', 'threads')))
        self.assertIn(found['state'], 'SR')
        self.assertLess(found['age_seconds'], time.monotonic() - begun + 0.1)
        self.assertLess(found['cpu_seconds'], 1)
        with open(f'/proc/{pid}/status') as file:
            text = file.read()
        self.assertIn(f'{found["virtual_kib"]} kB', text.split('VmSize:')[1])
        self.assertGreater(found['resident_kib'], 100)

    def test_a_name_with_the_signs_of_the_format(self):
        self.start('python3', '-c', """
import ctypes, time
ctypes.CDLL(None).prctl(15, b') S 1 (x')
time.sleep(1000)""")
        names = set()
        deadline = time.monotonic() + 10
        while ') S 1 (x' not in names and time.monotonic() < deadline:
            names = {p['name'] for p in self.read()['processes']}
        self.assertEqual({') S 1 (x'}, names)

    def test_a_terminal(self):
        main, other = pty.openpty()
        self.addCleanup(os.close, main)
        name = os.ttyname(other)
        self.start('sleep', '1000', stdin=other, start_new_session=True,
                   preexec_fn=lambda: os.close(os.open(name, os.O_RDWR)))
        os.close(other)
        [found] = self.read()['processes']
        self.assertEqual(name, '/dev/' + found['tty'])

    def test_one_part_after_the_other(self):
        pids = sorted(self.start('sleep', '1000') for _ in range(3))
        found, last = [], 0
        while True:
            answer = self.read(last, room=1)
            found += answer['processes']
            self.assertLessEqual(len(answer['processes']), 1)
            last = answer['last']
            if not last:
                break
        self.assertEqual(pids, [p['pid'] for p in found])

    def test_cgroups_below_count_and_ended_processes_do_not(self):
        pid = self.start('sleep', '1000')
        below = self.folder / 'below'
        below.mkdir()
        os.rename(self.folder / 'cgroup.procs', below / 'cgroup.procs')
        (self.folder / 'cgroup.procs').write_text('4194304\n')
        self.assertEqual([pid], [p['pid'] for p in self.read()['processes']])
