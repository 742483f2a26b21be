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

"""The output of a VM's programs stays small."""

import os
import pathlib

import fixtures

from kata_openstack.runtime.embedded.shim import log
from tests.unit import base


class CutTest(base.TestCase):
    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.path = pathlib.Path(folder, 'qemu.log')

    def test_a_long_one_is_cut_to_its_end(self):
        program = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.addCleanup(os.close, program)
        os.write(program, b'x' * log._MOST + b'the cause')
        log.cut(str(self.path))
        os.write(program, b', and more')
        found = self.path.read_bytes()
        self.assertEqual(log._KEPT + len(', and more'), len(found))
        self.assertTrue(found.endswith(b'xthe cause, and more'))

    def test_a_short_one_stays(self):
        self.path.write_bytes(b'x' * log._MOST)
        log.cut(str(self.path))
        self.assertEqual(log._MOST, self.path.stat().st_size)

    def test_none(self):
        log.cut(str(self.path))
        self.assertFalse(self.path.exists())
