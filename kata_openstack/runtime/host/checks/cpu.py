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

"""The CPU: its virtualization flags, and whether this host is a VM."""

import platform

from kata_openstack.runtime.host import below
from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots

# By CPU flag: KVM's module, and the name of the second-level paging.
_MODULES = {'vmx': ('kvm_intel', 'ept'), 'svm': ('kvm_amd', 'npt')}
# ARM's implementer codes in /proc/cpuinfo (source: the kernel's
# arch/arm64/include/asm/cputype.h).
_IMPLEMENTERS = {'0x41': 'ARM', '0x43': 'Cavium', '0x46': 'Fujitsu',
                 '0x48': 'HiSilicon', '0x4e': 'NVIDIA', '0x50': 'APM',
                 '0x51': 'Qualcomm', '0x61': 'Apple', '0xc0': 'Ampere'}


def check(roots: host_roots.Roots,
          architecture: str | None = None) -> facts.Cpu:
    """Read the first CPU in /proc/cpuinfo; missing values stay empty.

    :param architecture: the architecture of a recorded host; None for this
        one's.
    """
    text = roots.read(roots.proc / 'cpuinfo')
    first: dict[str, str] = {}
    for line in text.split('\n\n', 1)[0].splitlines():
        key, _, value = line.partition(':')
        first[key.strip()] = value.strip()
    flags = set(first.get('flags', '').split())
    # since Linux 5.9 some features of VMX, such as ept, are in another line
    flags |= set(first.get('vmx flags', '').split())
    virtualization = next((f for f in ('vmx', 'svm') if f in flags), '')
    module, paging = _MODULES.get(virtualization, ('', ''))
    hypervisor, told_by = below.check(roots)
    # only x86 has a CPU flag for it
    nested = ('hypervisor' in flags if flags else bool(hypervisor))
    implementer = first.get('CPU implementer', '')
    return facts.Cpu(
        architecture=architecture or platform.machine(),
        vendor=first.get('vendor_id')
        or _IMPLEMENTERS.get(implementer, implementer),
        model=first.get('model name', ''),
        count=max(1, sum(line.startswith('processor')
                         for line in text.splitlines())),
        virtualization=virtualization,
        nested=nested,
        level=int(nested),
        hypervisor=(hypervisor or 'unknown') if nested else '',
        hypervisor_source=told_by if nested else '',
        second_level_paging=paging if paging in flags else '',
        second_level_paging_enabled=_parameter(roots, module, paging),
        nesting_enabled=_parameter(roots, module, 'nested'))


def _parameter(roots: host_roots.Roots, module: str,
               name: str) -> bool | None:
    """Return a boolean parameter of a module; None if it is not loaded."""
    if not module:
        return None
    text = roots.word(roots.sys / 'module' / module / 'parameters' / name)
    return text in ('Y', '1') if text else None
