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

"""The clean-up ends the processes of its sandbox, and no others."""

import os
import pathlib
import subprocess
import time

from kata_openstack.runtime.embedded.shim import cleanup
from kata_openstack.runtime.embedded.shim import state
from tests.unit import base


class TestEndRecorded(base.TestCase):
    def ends(self, role, words, **values):
        """Return whether a process with these words is ended."""
        process = subprocess.Popen(
            [*words, '1000'], executable='/bin/sleep')
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        told = pathlib.Path(f'/proc/{process.pid}/cmdline')
        while not told.read_bytes():  # the kernel is still starting it
            time.sleep(0.001)
        cleanup._end_recorded(state.State(**{
            'sandbox': 'abc', 'namespace': 'n', 'folder': '/f',
            'socket': '/s', 'cgroup': '/g', 'ram': '/r', 'memory_mib': 256,
            'accelerator': 'tcg', 'vcpus': 1, 'uid': os.getuid(),
            role: process.pid, **values}))
        return not os.path.exists(f'/proc/{process.pid}')

    def test_its_own(self):
        self.assertTrue(self.ends('qemu', ['/usr/bin/qemu-system-x86_64']))
        for role, words in (('shim', 'shim -id abc'),
                            ('virtiofsd', 'virtiofsd source=/f/abc'),
                            ('virtiofsd_live', 'virtiofsd source=/f/abc')):
            self.assertTrue(self.ends(role, [words]))

    def test_a_reused_pid(self):
        """Another VM has another user, another shim another sandbox."""
        self.assertFalse(self.ends('qemu', ['/usr/bin/qemu-system-x86_64'],
                                   uid=os.getuid() + 1))
        self.assertFalse(self.ends('qemu', ['vim']))
        self.assertFalse(self.ends('shim', ['shim -id xyz']))
        self.assertFalse(self.ends('virtiofsd', ['vim /f/abc']))
