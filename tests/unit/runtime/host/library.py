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

"""Recorded hosts, and the handlers that are usable on each.

All programs are installed on all hosts (QEMU, virtiofsd, each handler of
upstream Kata), so that the verdicts depend on the host only. The hosts in
DISTRIBUTIONS have what the packages of a distribution install, and no upstream
Kata. ``usable`` names the usable handlers without ``kata-``; ``against`` has
parts of the reason against some of the others.
"""

import dataclasses
from typing import Any

from tests.unit.runtime.host import hosts

QEMU = {f'{shim}{end}' for shim in ('qemu', 'qemu-nvidia-cpu', 'qemu-coco-dev')
        for end in ('', '-runtime-rs')}
CLH = {f'{shim}{end}' for shim in ('clh', 'clh-azure')
       for end in ('', '-runtime-rs')}
# they have their own vsock and do not use /dev/shm
SMALL = CLH | {'dragonball', 'fc', 'openvmm-azure-runtime-rs'}
ALL_KVM = QEMU | SMALL | {'stratovirt', 'embedded'}

ALL_DEVICES = ('kvm', 'vhost-vsock', 'vhost-net', 'net/tun')
VFIO = {'sys/kernel/iommu_groups/7/type': 'DMA',
        'sys/kernel/iommu_groups/8/type': 'DMA'}
# A GPU with its audio function, both reserved for VFIO.
GPU = {**VFIO,
       'sys/bus/pci/drivers/vfio-pci/0000:65:00.0': '',
       'sys/bus/pci/drivers/vfio-pci/0000:65:00.1': '',
       'sys/bus/pci/drivers/vfio-pci/new_id': '',
       'sys/bus/pci/devices/0000:65:00.0/vendor': '0x10de\n',
       'sys/bus/pci/devices/0000:65:00.0/device': '0x2331\n',
       'sys/bus/pci/devices/0000:65:00.0/class': '0x030200\n',
       'sys/bus/pci/devices/0000:65:00.1/vendor': '0x10de\n',
       'sys/bus/pci/devices/0000:65:00.1/class': '0x040300\n'}


def dmi(**fields: str) -> dict[str, str]:
    return {f'sys/class/dmi/id/{name}': f'{text}\n'
            for name, text in fields.items()}


def module(name: str, **parameters: str) -> dict[str, str]:
    return {f'sys/module/{name}/parameters/{key}': f'{value}\n'
            for key, value in parameters.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """A host (arguments of :class:`.hosts.RecordedHost`) and its verdicts."""

    host: dict[str, Any]
    kvm: str
    usable: set[str]
    hypervisor: str = ''
    nova: bool = False
    against: dict[str, str] = dataclasses.field(default_factory=dict)


def distribution(virtiofsd: str, **release: str) -> Known:
    """A host with KVM and the packages of bindep.txt.

    :param virtiofsd: the path that virtiofsd's package has.
    :param release: lines of /etc/os-release.
    """
    return Known(
        host={'flags': 'lm vmx ept vpid', 'devices': ALL_DEVICES, 'kata': (),
              'programs': ('qemu-system-x86_64', virtiofsd),
              'files': {**module('kvm_intel', nested='Y', ept='Y'),
                        'etc/os-release': ''.join(
                            f'{name}={text}\n'
                            for name, text in release.items())}},
        kvm='hardware', usable={'embedded'})


# Debian's were read on such hosts; Ubuntu's file list is from the web page of
# its package, and its os-release from a report in public.
DISTRIBUTIONS = {
    'debian-12': distribution(
        'usr/lib/qemu/virtiofsd', PRETTY_NAME='"Debian GNU/Linux 12"',
        VERSION_ID='"12"', VERSION_CODENAME='bookworm', ID='debian'),
    'debian-13': distribution(
        'usr/libexec/virtiofsd', PRETTY_NAME='"Debian GNU/Linux 13"',
        VERSION_ID='"13"', VERSION_CODENAME='trixie', ID='debian'),
    'ubuntu-24.04': distribution(
        'usr/libexec/virtiofsd', PRETTY_NAME='"Ubuntu 24.04.1 LTS"',
        VERSION_ID='"24.04"', VERSION_CODENAME='noble', ID='ubuntu',
        ID_LIKE='debian'),
}

HOSTS = {
    **DISTRIBUTIONS,
    'bare-metal-intel': Known(
        host={'flags': 'lm vmx ept vpid', 'devices': (
            *ALL_DEVICES, 'vfio/vfio'),
            'files': {**module('kvm_intel', nested='Y', ept='Y'), **VFIO,
                      **dmi(sys_vendor='Dell Inc.',
                            product_name='PowerEdge R760')}},
        kvm='hardware', usable=ALL_KVM,
        against={'qemu-snp': 'KVM offers neither',
                 'qemu-se': 'does not run on x86_64',
                 'remote': 'hypervisor.sock does not exist',
                 'qemu-nvidia-gpu': '0 NVIDIA GPUs are bound'}),
    'bare-metal-amd': Known(
        host={'flags': 'lm svm npt', 'vendor': 'AuthenticAMD',
              'devices': ALL_DEVICES,
              'files': module('kvm_amd', nested='1', npt='1', sev='N')},
        kvm='hardware', usable=ALL_KVM),
    'nested-with-ept': Known(
        host={'flags': 'lm vmx ept hypervisor', 'devices': ALL_DEVICES,
              'cpuid': {0x40000000: 'KVMKVMKVM'},
              'files': {**module('kvm_intel', nested='Y', ept='Y'),
                        **dmi(sys_vendor='OpenStack Foundation',
                              product_name='OpenStack Nova')}},
        kvm='hardware', usable=ALL_KVM, hypervisor='KVM', nova=True),
    'nested-without-ept': Known(
        host={'flags': 'lm vmx hypervisor', 'devices': ALL_DEVICES,
              'measured': hosts.EMULATED_SVM,
              'files': {**module('kvm_intel', nested='N', ept='N'),
                        **dmi(sys_vendor='VMware, Inc.',
                              product_name='VMware7,1')}},
        kvm='hardware', usable=ALL_KVM, hypervisor='VMware'),
    'pagetable-vm-kvm': Known(
        host={'flags': 'lm hypervisor', 'measured': hosts.INTERPRETING,
              'devices': ('kvm', 'net/tun'),
              'cpuid': {0x40000000: 'KVMKVMKVM'},
              'files': module('kvm_pvm', switcher='1')},
        kvm='emulated', usable=set(), hypervisor='KVM',
        against={'qemu': 'KVM is emulated', 'clh': 'KVM is emulated',
                 'embedded': 'emulation is not allowed'}),
    'mshv': Known(
        host={'flags': 'lm hypervisor', 'devices': (
            'mshv', 'vhost-vsock', 'net/tun'),
            'cpuid': {0x40000000: 'Microsoft Hv'},
            'files': dmi(sys_vendor='Microsoft Corporation',
                         product_name='Virtual Machine')},
        kvm='absent', usable=CLH | {'openvmm-azure-runtime-rs'},
        hypervisor='Hyper-V',
        against={'qemu': 'KVM is absent', 'fc': 'KVM is absent'}),
    'no-kvm': Known(
        host={'flags': 'lm hypervisor', 'devices': ('net/tun',),
              'links': {'dev/disk/by-label/config-2': '../../sr0'},
              'files': {'dev/sr0': '', **dmi(sys_vendor='QEMU',
                                             product_name='Standard PC')}},
        kvm='absent', usable=set(), hypervisor='QEMU', nova=True,
        against={'clh': 'KVM is absent; /dev/mshv'}),
    'no-vsock': Known(
        host={'flags': 'lm vmx ept', 'devices': ('kvm', 'net/tun'),
              'files': {'proc/modules':
                        'vmw_vsock_vmci_transport 32768 1 - Live 0x0\n'}},
        kvm='hardware', usable=SMALL | {'embedded'},
        against={'qemu': 'vmw_vsock_vmci_transport occupies the host side',
                 'stratovirt': 'vhost-vsock does not exist'}),
    'sev-snp': Known(
        host={'flags': 'lm svm npt sev sev_es sev_snp',
              'vendor': 'AuthenticAMD', 'devices': ALL_DEVICES,
              'files': module('kvm_amd', nested='1', npt='Y', sev='Y',
                              sev_es='Y', sev_snp='Y')},
        kvm='hardware', usable=ALL_KVM | {'qemu-snp', 'qemu-snp-runtime-rs'},
        against={'qemu-tdx': 'KVM offers SEV, SEV-ES, SEV-SNP'}),
    'tdx-with-gpu': Known(
        host={'flags': 'lm vmx ept', 'devices': (*ALL_DEVICES, 'vfio/vfio'),
              'files': {**module('kvm_intel', nested='Y', ept='Y', tdx='Y'),
                        **GPU}},
        kvm='hardware', usable=ALL_KVM | {
            'qemu-tdx', 'qemu-tdx-runtime-rs', 'qemu-nvidia-gpu',
            'qemu-nvidia-gpu-runtime-rs', 'qemu-nvidia-gpu-tdx',
            'qemu-nvidia-gpu-tdx-runtime-rs'},
        against={'qemu-nvidia-gpu-snp': 'KVM offers TDX'}),
    'arm64': Known(
        # no test guest for this architecture, so KVM cannot be measured
        host={'flags': '', 'vendor': '0x41', 'architecture': 'aarch64',
              'devices': ALL_DEVICES, 'measured': hosts.NEVER},
        kvm='unknown', usable=set(),
        against={'qemu': 'KVM is unknown', 'embedded': 'aarch64',
                 'remote': 'aarch64'}),
    'github-runner': Known(
        # an Azure VM with nesting; only root can open /dev/kvm until a udev
        # rule allows it to others
        host={'flags': 'lm vmx ept hypervisor', 'devices': (
            'kvm', 'net/tun'),
            'cpuid': {0x40000000: 'Microsoft Hv'},
            'measured': {'failed': 'open', 'errno': 13,
                         'why': 'Permission denied'},
            'files': dmi(sys_vendor='Microsoft Corporation',
                         product_name='Virtual Machine',
                         chassis_asset_tag='7783-7084-3265-9085')},
        kvm='denied', usable=set(), hypervisor='Hyper-V',
        against={'clh': 'KVM is denied', 'qemu': 'KVM is denied'}),
    'small-shm': Known(
        host={'flags': 'lm vmx ept', 'devices': ALL_DEVICES, 'shm_mib': 64},
        kvm='hardware', usable=SMALL | {'embedded'},
        against={'qemu': '/dev/shm has 64 MiB',
                 'stratovirt': '/dev/shm has 64 MiB'}),
}
