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

import pathlib
import tempfile

from kata_openstack.runtime.embedded.virtiofs import options
from tests.unit import base

# Parts of the help of Debian's packages
DEBIAN_12 = """
    -o announce_submounts      Announce sub-mount points to the guest
    -o posix_acl/no_posix_acl  Enable/Disable posix_acl. (default: disabled)
    -o log_level=<level>       log level, default to "info"
"""
DEBIAN_13 = """
      --announce-submounts
          Tell the guest which directories are mount points [default]

      --no-announce-submounts
          Do not tell the guest which directories are mount points

      --posix-acl
          Enable support for posix ACLs (implies --xattr)

      --log-level <LOG_LEVEL>
          Log level (error, warn, info, debug, trace, off)
"""


class TestSupported(base.TestCase):
    def program(self, told):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name) / 'virtiofsd'
        path.write_text(f'#!/bin/sh\n[ "$*" = --help ] && cat <<E\n{told}E\n')
        path.chmod(0o755)
        return str(path)

    def test_both_programs(self):
        self.assertEqual(['-o', 'posix_acl', '-o', 'log_level=err'],
                         options.supported(self.program(DEBIAN_12)))
        self.assertEqual(['--no-announce-submounts', '--posix-acl',
                          '--log-level', 'error'],
                         options.supported(self.program(DEBIAN_13)))
        self.assertEqual([], options.supported(self.program('')))

    def test_no_program(self):
        self.assertRaises(OSError, options.supported, '/nowhere/virtiofsd')
