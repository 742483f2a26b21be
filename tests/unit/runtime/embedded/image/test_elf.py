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

"""Programs with missing libraries."""

import pathlib
import subprocess

from kata_openstack.runtime.embedded.image import elf
from tests.unit.runtime.embedded.image import base


class TestElf(base.FolderTestCase):
    def test_crun_works_without_systemd(self):
        try:
            program = pathlib.Path('/usr/bin/crun').read_bytes()
        except FileNotFoundError:
            self.skipTest('crun is not installed')
        slim = self.folder / 'crun'
        slim.write_bytes(elf.without_library(program, 'libsystemd.so.0'))
        slim.chmod(0o755)
        linked = subprocess.run(['ldd', slim], capture_output=True,
                                text=True).stdout
        self.assertNotIn('libsystemd', linked)
        self.assertIn('libseccomp', linked)
        done = subprocess.run([slim, '--version'], capture_output=True,
                              text=True)
        self.assertIn('crun version', done.stdout)
        self.assertEqual('', done.stderr)

    def test_other_files_are_refused(self):
        program = pathlib.Path('/bin/busybox').read_bytes()
        for content in (b'', b'#!/bin/sh\n', program, program[:5000]):
            self.assertRaises(elf.NotSlimmed, elf.without_library, content,
                              'libsystemd.so.0')
