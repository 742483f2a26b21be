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

import hashlib
import io
import json
import pathlib
import platform
import subprocess
import tarfile
import unittest

import fixtures

from kata_openstack.runtime.canary import machine_code
from kata_openstack.runtime.canary import own_image
from tests.unit import base


class ImageTest(base.TestCase):

    def program(self):
        [layer] = own_image.image().layers
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
            tar.extract('canary', folder, filter='data')
        return folder / 'canary'

    @unittest.skipUnless(platform.machine() == own_image.ARCHITECTURE,
                         'the program is for another architecture')
    def test_it_tells_the_boot_id_of_its_kernel(self):
        done = subprocess.run([self.program()], stdout=subprocess.PIPE)
        self.assertEqual(0, done.returncode)
        self.assertEqual(pathlib.Path(machine_code.BOOT_ID).read_bytes(),
                         done.stdout)

    @unittest.skipUnless(platform.machine() == own_image.ARCHITECTURE,
                         'the program is for another architecture')
    def test_it_fails_where_there_is_none(self):
        program = self.program()
        program.write_bytes(program.read_bytes().replace(
            b'/proc/', b'/nope/'))
        done = subprocess.run([program], stdout=subprocess.PIPE)
        self.assertEqual((1, b''), (done.returncode, done.stdout))

    @unittest.skipUnless(platform.machine() == own_image.ARCHITECTURE,
                         'the program is for another architecture')
    def test_it_notices_code_that_is_not_its_own(self):
        """As if one page still held the code of the former ones."""
        program = self.program()
        content = bytearray(program.read_bytes())
        self.assertEqual(b'\xb8\2', content[-4096:-4094])
        content[-4095] = 1  # mov eax, 1
        program.write_bytes(content)
        done = subprocess.run([program], stdout=subprocess.PIPE)
        self.assertEqual((machine_code.STALE, b''),
                         (done.returncode, done.stdout))

    def test_the_same_each_time(self):
        self.assertEqual(own_image.image(), own_image.image())
        config = json.loads(own_image.image().config)
        digest = hashlib.sha256(own_image.image().layers[0]).hexdigest()
        self.assertEqual([f'sha256:{digest}'], config['rootfs']['diff_ids'])
