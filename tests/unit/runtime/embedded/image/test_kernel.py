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

"""The guest's kernel."""

import lzma

from kata_openstack.runtime.embedded.image import kernel
from tests.unit.runtime.embedded.image import base


class TestKernel(base.FolderTestCase):
    def setUp(self):
        super().setUp()
        (self.folder / 'boot').mkdir()
        (self.folder / 'boot' / 'vmlinuz-6.1.0-9').write_bytes(b'image')
        self.modules = self.folder / 'lib/modules/6.1.0-9/kernel/drivers'
        self.modules.mkdir(parents=True)

    def module(self, name, depends, suffix=''):
        content = b'\x7fELF\0alias=x\0depends=' + depends + b'\0retpoline=Y'
        if suffix:
            content = lzma.compress(content)
        (self.modules / f'{name}.ko{suffix}').write_bytes(content)

    def test_modules_come_after_what_they_need(self):
        self.module('virtio-ring', b'')
        self.module('virtio', b'virtio_ring', '.xz')
        self.module('net', b'virtio,failover')
        self.module('failover', b'')
        found = kernel.Kernel(self.folder).modules(['net', 'builtin'])
        self.assertEqual(['virtio_ring', 'virtio', 'failover', 'net'],
                         list(found))
        self.assertTrue(found['virtio'].startswith(b'\x7fELF'))

    def test_the_unpacked_image_is_preferred(self):
        self.assertEqual('vmlinuz-6.1.0-9',
                         kernel.Kernel(self.folder).image.name)
        (self.folder / 'vmlinux').write_bytes(b'x')
        found = kernel.Kernel(self.folder)
        self.assertEqual('vmlinux', found.image.name)
        self.assertEqual('6.1.0-9', found.release)
