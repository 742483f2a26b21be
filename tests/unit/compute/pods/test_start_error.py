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

"""Errors of a first start."""

from tests.unit import base

from kata_openstack.compute.pods import start_error
from kata_openstack import exception


class StartErrorTest(base.TestCase):

    def test_missing_command(self):
        for text, name in [
                ('exec: "/nope": stat /nope: no such file or directory',
                 '/nope'),
                ('exec: "nope": executable file not found in $PATH', 'nope'),
                ('executable file `nope` not found in $PATH: No such file',
                 'nope'),
                ("executable file 'nope' not found in $PATH", 'nope'),
                ('open executable: No such file or directory', ''),
                ('mount /x: no such file or directory', None),
                ('permission denied', None)]:
            self.assertEqual(name, start_error.missing_command(text), text)

    def test_refine(self):
        error = start_error.refine(
            exception.RuntimeFailed(operation='StartContainer',
                                    why='open executable: No such file'),
            '/asked/for', 'image-1')
        self.assertIsInstance(error, exception.CommandNotFound)
        self.assertIn('/asked/for', str(error))
        self.assertIn('image-1', str(error))
        other = exception.RuntimeFailed(operation='o', why='w')
        self.assertIs(other, start_error.refine(other, 'c', 'i'))
