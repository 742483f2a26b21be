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

"""Confidential computing: can guests have memory that we cannot read?

KVM's module parameters say what the kernel, the firmware and the CPU agreed
on. Where they are not there, MSRs tell (if readable) what the firmware has
set up, so that the remedy can name what is left to do.
"""

import dataclasses
import struct

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots

# Sources: AMD's manual (24593, SYSCFG, bit 24: SNP enabled); Intel's TDX
# module specification (IA32_MKTME_KEYID_PARTITIONING, upper half: number of
# keys that are TDX's own).
_MSR_SYSCFG, _SNP_ENABLED = 0xC0010010, 1 << 24
_MSR_KEYIDS = 0x87


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tee:
    """What KVM can offer its guests. ``guest``: what we are ourselves."""

    sev: bool = False
    sev_es: bool = False
    sev_snp: bool = False
    tdx: bool = False
    se: bool = False
    guest: str = ''
    firmware: str = ''
    reason: str = ''
    remedy: str = ''


def _msr(roots: host_roots.Roots, number: int) -> int | None:
    answer = roots.read_at(roots.dev / 'cpu/0/msr', number, 8)
    return struct.unpack('=Q', answer)[0] if len(answer) == 8 else None


def _firmware(roots: host_roots.Roots, cpu: facts.Cpu) -> str:
    """What the firmware has prepared, as far as MSRs can be read."""
    if cpu.vendor == 'AuthenticAMD':
        value = _msr(roots, _MSR_SYSCFG)
        return 'sev-snp' if value and value & _SNP_ENABLED else ''
    if cpu.vendor == 'GenuineIntel':
        value = _msr(roots, _MSR_KEYIDS)
        return 'tdx' if value and value >> 32 else ''
    return ''


def check(roots: host_roots.Roots, cpu: facts.Cpu) -> Tee:
    def switch(module: str, name: str) -> bool:
        return roots.word(roots.sys / 'module' / module / 'parameters'
                          / name) in ('Y', '1')

    sev, sev_es, sev_snp = (switch('kvm_amd', name)
                            for name in ('sev', 'sev_es', 'sev_snp'))
    tdx = switch('kvm_intel', 'tdx')
    se = roots.word(roots.sys / 'firmware/uv/prot_virt_host') == '1'
    guest = next((name for node, name in (
        ('sev-guest', 'sev-snp'), ('tdx_guest', 'tdx'))
        if (roots.dev / node).exists()), '')
    # MSRs are asked only where KVM gives no answer: they cost a call to
    # another CPU
    firmware = '' if sev_snp or tdx or se else _firmware(roots, cpu)
    has = [name for name, present in (
        ('SEV', sev), ('SEV-ES', sev_es), ('SEV-SNP', sev_snp),
        ('TDX', tdx), ('Secure Execution', se)) if present]
    remedy = ''
    if has:
        reason = f'KVM offers {", ".join(has)}'
    else:
        reason = 'KVM offers neither SEV, TDX nor Secure Execution'
    if firmware:
        reason += f'; the firmware has {firmware.upper()} set up'
        remedy = {
            'sev-snp': 'Use a kernel with SNP host support (6.11 or later) '
                       'and load kvm_amd with sev=1 sev_es=1 sev_snp=1.',
            'tdx': 'Use a kernel with TDX host support (6.16 or later) and '
                   'load kvm_intel with tdx=1.'}[firmware]
    elif not (sev_snp or tdx or se):
        remedy = ('Confidential guests need a CPU with SEV-SNP, TDX or '
                  'Secure Execution, set up in the firmware.')
    return Tee(sev=sev, sev_es=sev_es, sev_snp=sev_snp, tdx=tdx, se=se,
               guest=guest, firmware=firmware, reason=reason, remedy=remedy)
