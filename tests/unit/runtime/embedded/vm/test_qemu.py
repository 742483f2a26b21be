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

import re

from kata_openstack.runtime.embedded.vm import qemu
from kata_openstack.runtime.embedded.vm import size
from tests.unit import base
from tests.unit.runtime.embedded.vm import test_placing


class TestSlots(base.TestCase):
    def test_each_device_has_its_own(self):
        """A device of the template is where it was in each VM."""
        template = qemu.base('/qemu', test_placing.config(),
                             size.Size(256, 1), 3, 4)
        nics = [qemu.Nic(5, '02:00:00:00:00:01')] * qemu.MAX_NICS
        words = ' '.join([*template, *qemu.restore(6, nics)])
        slots = [int(slot, 16)
                 for slot in re.findall('addr=(0x[0-9a-f]+)', words)]
        self.assertEqual(4 + qemu.MAX_NICS, len(slots))
        self.assertEqual(sorted(set(slots)), slots)
        self.assertLess(slots[-1], 0x1f)  # the last slot is q35's own

    def test_each_share_has_a_port(self):
        words = ' '.join(qemu.base('/qemu', test_placing.config(),
                                   size.Size(256, 1), 3, 4))
        ports = re.findall('pcie-root-port,id=([a-z]+),chassis=([0-9]+)',
                           words)
        devices = (qemu.share_device(), qemu.live_device('live1'))
        self.assertEqual([device['bus'] for device in devices],
                         [name for name, _ in ports])
        self.assertEqual(2, len({chassis for _, chassis in ports}))
        self.assertEqual(['share', 'live'],
                         [device['tag'] for device in devices])
