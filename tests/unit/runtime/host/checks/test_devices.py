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

"""Device files."""

import socket


from kata_openstack.runtime.host import capabilities as caps
from tests.unit.runtime.host.checks import base
from tests.unit.runtime.host import hosts
from tests.unit.runtime.host import library


class TestDevices(base.CheckTestCase):
    def test_gpu(self):
        iommu = self.host(
            devices=('vfio/vfio',), files=library.GPU, links={
                'sys/bus/pci/devices/0000:65:00.0/iommu_group':
                '../../../../kernel/iommu_groups/7'}).iommu
        gpu, audio = iommu.devices
        self.assertTrue(iommu.usable)
        self.assertEqual((7, True), (gpu.group, gpu.nvidia_gpu))
        self.assertEqual((None, False), (audio.group, audio.nvidia_gpu))

    def test_peer_pods(self):
        record = hosts.recorded(self)
        folder = record.root / 'run/peerpod'
        folder.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(folder / 'hypervisor.sock'))
        self.assertTrue(record.probe().peer_pods.usable)

    def test_what_the_firmware_has_ready(self):
        for kwargs, name, words in (
                ({'vendor': 'AuthenticAMD',
                  'msrs': {0xC0010010: 1 << 24}}, 'sev-snp', 'sev_snp=1'),
                ({'msrs': {0x87: 64 << 32}}, 'tdx', 'tdx=1'),
                ({'msrs': {0x87: 64}}, '', 'need a CPU')):
            with self.subTest(name):
                tee = self.host(**kwargs).tee
                self.assertEqual(name, tee.firmware)
                self.assertIn(words, tee.remedy)

    def test_a_confidential_guest_itself(self):
        self.assertEqual('tdx', self.host(devices=('tdx_guest',)).tee.guest)

    def test_kvm_without_what_hypervisors_need(self):
        host = self.host(measured={**hosts.HARDWARE,
                                   'capabilities': {'ioeventfd': 0}})
        found = caps.capabilities(host, allow_emulation=False)
        self.assertFalse(found[caps.KVM_IOEVENTFD].present)
        self.assertIn('KVM_CAP_IOEVENTFD', found[caps.KVM_IOEVENTFD].reason)
        self.assertTrue(found[caps.KVM_IRQCHIP].present)
