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

from kata_openstack.runtime.embedded.common import virtiofsd
from tests.unit import base

# The output of Debian's packages
DEBIAN_12 = """\
virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)
Copyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers
using FUSE kernel interface version 7.36
"""
DEBIAN_13 = 'virtiofsd 1.13.2\n'


class TestIsRust(base.TestCase):
    def program(self, told):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name) / 'virtiofsd'
        path.write_text(f'#!/bin/sh\n[ "$*" = --version ] &&'
                        f" printf %s '{told}'\n")
        path.chmod(0o755)
        return str(path)

    def test_both(self):
        self.assertFalse(virtiofsd.is_rust(self.program(DEBIAN_12)))
        self.assertTrue(virtiofsd.is_rust(self.program(DEBIAN_13)))

    def test_none(self):
        self.assertRaises(OSError, virtiofsd.is_rust, '/nowhere/virtiofsd')
