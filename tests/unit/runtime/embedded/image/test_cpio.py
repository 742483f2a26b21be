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

"""The archive of the initramfs."""

import io
import subprocess

from kata_openstack.runtime.embedded.image import cpio
from tests.unit.runtime.embedded.image import base


class TestCpio(base.FolderTestCase):
    def write(self):
        out = io.BytesIO()
        archive = cpio.Archive(out)
        archive.folder('empty')
        archive.file('a/b/program', b'\x7fELF' * 5, 0o755)
        archive.file('a/text', b'words')
        archive.link('bin', 'usr/bin')
        archive.end()
        return out.getvalue()

    def test_busybox_can_read_it(self):
        done = subprocess.run(['busybox', 'cpio', '-idm'],
                              input=self.write(), cwd=self.folder,
                              capture_output=True)
        self.assertEqual(0, done.returncode, done.stderr)
        program = self.folder / 'a' / 'b' / 'program'
        self.assertEqual(b'\x7fELF' * 5, program.read_bytes())
        self.assertEqual(0o755, program.stat().st_mode & 0o777)
        self.assertEqual('usr/bin', str((self.folder / 'bin').readlink()))
        self.assertTrue((self.folder / 'empty').is_dir())

    def test_the_same_files_give_the_same_bytes(self):
        self.assertEqual(self.write(), self.write())
