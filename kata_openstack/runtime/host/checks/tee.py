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

"""Confidential computing: guests whose memory the host cannot read.

The parameters of KVM's modules show what the CPU, the firmware and the kernel
support together. If they show nothing, MSRs (if readable) show what the
firmware has enabled, so that the remedy can name the missing step.
"""

import dataclasses
import struct

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots

# Sources: AMD's manual (24593, SYSCFG, bit 24: SNP enabled); Intel's TDX
# module specification (IA32_MKTME_KEYID_PARTITIONING, upper half: the number
# of keys that belong to TDX).
_MSR_SYSCFG, _SNP_ENABLED = 0xC0010010, 1 << 24
_MSR_KEYIDS = 0x87


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tee:
    """The kinds of confidential guests that KVM offers.

    ``guest``: the kind of guest that this host itself is, or ''.
    ``firmware``: the kind that only the firmware has enabled, or ''.
    """

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
    """Return the kind that the firmware has enabled; '' without MSRs."""
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
    # read MSRs only if KVM offers nothing: each read interrupts another CPU
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
        reason += f'; the firmware has {firmware.upper()} enabled'
        remedy = {
            'sev-snp': 'Use a kernel with SNP host support (6.11 or later) '
                       'and load kvm_amd with sev=1 sev_es=1 sev_snp=1.',
            'tdx': 'Use a kernel with TDX host support (6.16 or later) and '
                   'load kvm_intel with tdx=1.'}[firmware]
    elif not (sev_snp or tdx or se):
        remedy = ('Confidential guests need a CPU with SEV-SNP, TDX or '
                  'Secure Execution that is enabled in the firmware.')
    return Tee(sev=sev, sev_es=sev_es, sev_snp=sev_snp, tdx=tdx, se=se,
               guest=guest, firmware=firmware, reason=reason, remedy=remedy)
