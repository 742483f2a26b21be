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

"""crun in the guest."""

import fcntl
import os
import shutil
import subprocess

from kata_openstack.runtime.embedded.agent import crun
from tests.unit.runtime.embedded.image import base


class TestSeal(base.FolderTestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(setattr, crun, '_program', crun.CRUN)
        self.path = self.folder / 'program'
        shutil.copy('/bin/busybox', self.path)

    def _fd(self):
        program = crun.run_command('c', '/f', False)[0]
        fd = int(program.removeprefix('/proc/self/fd/'))
        self.addCleanup(os.close, fd)
        return fd

    def test_the_copy_is_sealed_and_runs(self):
        crun.seal(str(self.path))
        fd = self._fd()
        self.assertEqual(crun.SEALS, fcntl.fcntl(fd, fcntl.F_GET_SEALS))
        self.assertRaises(OSError, os.open, f'/proc/self/fd/{fd}',
                          os.O_RDWR | os.O_TRUNC)
        self.assertFalse(self.path.exists())
        told = subprocess.run(['busybox', 'echo', 'hello'], pass_fds=[fd],
                              executable=f'/proc/self/fd/{fd}',
                              capture_output=True, text=True)
        self.assertEqual('hello\n', told.stdout)

    def test_each_command_runs_the_copy(self):
        crun.seal(str(self.path))
        program = f'/proc/self/fd/{self._fd()}'
        for argv in (crun.exec_command('c', '/f', True),
                     crun.update_command('c', '/r', '/f'),
                     crun.delete_command('c')):
            self.assertEqual(program, argv[0])
