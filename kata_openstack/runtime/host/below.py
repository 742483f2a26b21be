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

"""Which hypervisor this machine itself runs on, if any.

The surest sign is the CPUID leaf from 0x40000000 on, which the kernel shows
in /dev/cpu/0/cpuid when its module is loaded. Otherwise Xen's folder in
/sys, the device tree (arm64) or the firmware's tables (DMI) tell.
"""

import struct

from kata_openstack.runtime.host import roots as host_roots

# Sources: the kernel's arch/x86/kernel/cpu/hypervisor.c and its platforms;
# QEMU's and VirtualBox's documentation.
_SIGNATURES = {
    'KVMKVMKVM': 'KVM', 'Linux KVM Hv': 'KVM', 'Microsoft Hv': 'Hyper-V',
    'VMwareVMware': 'VMware', 'XenVMMXenVMM': 'Xen',
    'TCGTCGTCGTCG': 'QEMU TCG', 'VBoxVBoxVBox': 'VirtualBox',
    'ACRNACRNACRN': 'ACRN', 'bhyve bhyve ': 'bhyve',
    ' lrpepyh vr': 'Parallels', 'Jailhouse': 'Jailhouse',
}
# The beginning of a vendor's or a product's name in DMI.
_DMI = (
    ('VMware', 'VMware'), ('VirtualBox', 'VirtualBox'),
    ('innotek', 'VirtualBox'), ('Xen', 'Xen'), ('HVM domU', 'Xen'),
    ('Google Compute Engine', 'KVM'), ('OpenStack', 'KVM'), ('KVM', 'KVM'),
    ('Amazon EC2', 'KVM'), ('Virtual Machine', 'Hyper-V'),
    ('Apple Virtualization', 'Apple Virtualization'),
    ('Parallels', 'Parallels'), ('QEMU', 'QEMU'), ('Bochs', 'QEMU'),
)
_FIRST_LEAF = 0x40000000
# Hyper-V's interface, offered by KVM, moves KVM's own leaf to here.
_SECOND_LEAF = 0x40000100


def _signature(roots: host_roots.Roots, leaf: int) -> str:
    # the offset in the device is the leaf: sixteen bytes are one answer
    answer = roots.read_at(roots.dev / 'cpu/0/cpuid', leaf, 16)
    if len(answer) != 16:
        return ''
    text = answer[4:].rstrip(b'\0').decode('ascii', errors='replace')
    highest = struct.unpack('=I', answer[:4])[0]
    # without a hypervisor the CPU answers with its highest normal leaf; an
    # old KVM says 0 for the highest
    return text if text in _SIGNATURES or highest >= leaf else ''


def check(roots: host_roots.Roots) -> tuple[str, str]:
    """The name of the hypervisor below, and how it is known.

    Only meaningful on a virtual machine; ('', '') where nothing tells.
    """
    first = _signature(roots, _FIRST_LEAF)
    if first:
        second = _signature(roots, _SECOND_LEAF)
        name = _SIGNATURES.get(
            second if second.startswith('KVM') else first, first)
        return name, 'CPUID'
    kind = roots.word(roots.sys / 'hypervisor/type')
    if kind:
        return {'xen': 'Xen'}.get(kind, kind), '/sys/hypervisor'
    tree = roots.word(roots.proc / 'device-tree/hypervisor/compatible')
    if tree:
        return ('KVM' if 'kvm' in tree else 'Xen' if 'xen' in tree
                else tree), 'device tree'
    for field in ('product_name', 'sys_vendor', 'board_vendor',
                  'bios_vendor'):
        text = roots.word(roots.sys / 'class/dmi/id' / field)
        for beginning, name in _DMI:
            if text.startswith(beginning):
                return name, f'DMI ({field} {text})'
    return '', ''
