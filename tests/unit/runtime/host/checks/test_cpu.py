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

"""The CPU and the hypervisor below."""


from tests.unit.runtime.host.checks import base
from tests.unit.runtime.host import library


class TestBelow(base.CheckTestCase):
    def name(self, **kwargs):
        cpu = self.host(flags='hypervisor', **kwargs).cpu
        return cpu.hypervisor, cpu.hypervisor_source

    def test_cpuid_goes_first(self):
        self.assertEqual(('KVM', 'CPUID'), self.name(
            cpuid={0x40000000: 'KVMKVMKVM'},
            files=library.dmi(sys_vendor='Xen')))

    def test_hyper_v_as_kvm_offers_it(self):
        self.assertEqual(('KVM', 'CPUID'), self.name(
            cpuid={0x40000000: 'Microsoft Hv', 0x40000100: 'KVMKVMKVM'}))

    def test_a_signature_that_nobody_knows(self):
        self.assertEqual(('NewNewNewNew', 'CPUID'), self.name(
            cpuid={0x40000000: 'NewNewNewNew'}))

    def test_other_sources(self):
        for files, name in (
                ({'sys/hypervisor/type': 'xen\n'}, 'Xen'),
                (library.dmi(product_name='Google Compute Engine'), 'KVM'),
                (library.dmi(sys_vendor='Amazon EC2'), 'KVM'),
                (library.dmi(sys_vendor='Acme'), 'unknown')):
            with self.subTest(files=files):
                self.assertEqual(name, self.name(files=files)[0])

    def test_arm64_has_no_flag_for_it(self):
        cpu = self.host(flags='', architecture='aarch64', files={
            'proc/device-tree/hypervisor/compatible': 'linux,kvm\0'}).cpu
        self.assertEqual((True, 1, 'KVM'),
                         (cpu.nested, cpu.level, cpu.hypervisor))

    def test_bare_metal_has_none(self):
        cpu = self.host(files=library.dmi(sys_vendor='QEMU')).cpu
        self.assertEqual((False, ''), (cpu.nested, cpu.hypervisor))


class TestCpu(base.CheckTestCase):
    def test_features_of_vmx_in_a_line_of_their_own(self):
        cpu = self.host(flags='vmx\nvmx flags\t: ept vpid',
                        files=library.module('kvm_intel', nested='1',
                                             ept='N')).cpu
        self.assertEqual('ept', cpu.second_level_paging)
        self.assertIs(True, cpu.nesting_enabled)
        self.assertIs(False, cpu.second_level_paging_enabled)
        self.assertIn('kvm_intel with ept=1', cpu.remedy)
