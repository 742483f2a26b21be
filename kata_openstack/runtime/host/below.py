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

"""The hypervisor that this machine itself runs on, if any.

The most reliable source is the CPUID leaf 0x40000000, which the kernel shows
in /dev/cpu/0/cpuid when its cpuid module is loaded. The others are Xen's
folder in /sys, the device tree (arm64) and the firmware's tables (DMI).
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
# Prefixes of the names of vendors and products in DMI.
_DMI = (
    ('VMware', 'VMware'), ('VirtualBox', 'VirtualBox'),
    ('innotek', 'VirtualBox'), ('Xen', 'Xen'), ('HVM domU', 'Xen'),
    ('Google Compute Engine', 'KVM'), ('OpenStack', 'KVM'), ('KVM', 'KVM'),
    ('Amazon EC2', 'KVM'), ('Virtual Machine', 'Hyper-V'),
    ('Apple Virtualization', 'Apple Virtualization'),
    ('Parallels', 'Parallels'), ('QEMU', 'QEMU'), ('Bochs', 'QEMU'),
)
_FIRST_LEAF = 0x40000000
# When KVM offers Hyper-V's interface, its own leaf moves here.
_SECOND_LEAF = 0x40000100


def _signature(roots: host_roots.Roots, leaf: int) -> str:
    # the offset in the device is the leaf; an answer has 16 bytes
    answer = roots.read_at(roots.dev / 'cpu/0/cpuid', leaf, 16)
    if len(answer) != 16:
        return ''
    text = answer[4:].rstrip(b'\0').decode('ascii', errors='replace')
    highest = struct.unpack('=I', answer[:4])[0]
    # Without a hypervisor, the CPU returns the data of its highest basic
    # leaf. An old KVM reports 0 as its highest leaf.
    return text if text in _SIGNATURES or highest >= leaf else ''


def check(roots: host_roots.Roots) -> tuple[str, str]:
    """Return the name of the hypervisor below, and the source of the name.

    The answer has a meaning only on a virtual machine. It is ('', '') if no
    source names a hypervisor.
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
