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

"""Named capabilities of a host, which hypervisors list as their needs."""

import dataclasses

from kata_openstack.runtime.host import report as hosts

KVM = 'kvm'
MSHV = 'mshv'
TCG = 'tcg'
VHOST_VSOCK = 'vhost-vsock'
TUN = 'tun'
QEMU = 'qemu'
VIRTIOFSD = 'virtiofsd'
SHM = 'shm'
VFIO = 'vfio'
NVIDIA_GPU = 'nvidia-gpu'
SEV_SNP = 'sev-snp'
TDX = 'tdx'
SE = 'se'
DEVMAPPER = 'devmapper'
NYDUS = 'nydus'
REMOTE = 'remote'
KVM_IRQCHIP = 'kvm-irqchip'
KVM_SPLIT_IRQCHIP = 'kvm-split-irqchip'
KVM_USER_MEMORY = 'kvm-user-memory'
KVM_IOEVENTFD = 'kvm-ioeventfd'
KVM_IRQFD = 'kvm-irqfd'

# What can run a sandbox: this host's CPU, QEMU's emulation, or a cloud.
ACCELERATORS = (KVM, MSHV, TCG, REMOTE)
# Accelerators with which the CPU itself isolates the guest from this host.
HARDWARE = (KVM, MSHV)

_KVM_EXTENSIONS = (KVM_IRQCHIP, KVM_SPLIT_IRQCHIP, KVM_USER_MEMORY,
                   KVM_IOEVENTFD, KVM_IRQFD)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capability:
    """A capability of this host.

    ``reason`` says why it is present or missing.
    """

    name: str
    present: bool
    reason: str
    remedy: str = ''


def capabilities(host: hosts.Host, *,
                 allow_emulation: bool) -> dict[str, Capability]:
    """Return all known capabilities, present or missing, by name."""
    found = [Capability(name=KVM, present=host.kvm.usable,
                        reason=host.kvm.summary,
                        remedy=host.kvm.remedy),
             _emulation(host, allow_emulation),
             _vhost_vsock(host), _shm(host), _gpu(host),
             _snapshotter(host, DEVMAPPER, 'Create a thin pool and set '
                          'pool_name in the devmapper section of the '
                          'configuration of containerd.'),
             _snapshotter(host, NYDUS, 'Install nydus-snapshotter and add '
                          'it to [proxy_plugins] in the configuration of '
                          'containerd.')]
    for name, fact in ((MSHV, host.mshv), (TUN, host.tun),
                       (QEMU, host.qemu), (VIRTIOFSD, host.virtiofsd),
                       (VFIO, host.iommu), (REMOTE, host.peer_pods)):
        found.append(Capability(name=name, present=fact.usable,
                                reason=fact.reason, remedy=fact.remedy))
    for name, present in ((SEV_SNP, host.tee.sev_snp),
                          (TDX, host.tee.tdx), (SE, host.tee.se)):
        found.append(Capability(name=name, present=present,
                                reason=host.tee.reason,
                                remedy='' if present else host.tee.remedy))
    found += [_extension(host, name) for name in _KVM_EXTENSIONS]
    return {c.name: c for c in found}


def _vhost_vsock(host: hosts.Host) -> Capability:
    device = host.vhost_vsock
    if not device.usable and host.vsock.conflict:
        return Capability(name=VHOST_VSOCK, present=False,
                          reason=f'{device.reason}: {host.vsock.reason}',
                          remedy=host.vsock.remedy)
    return Capability(name=VHOST_VSOCK, present=device.usable,
                      reason=device.reason, remedy=device.remedy)


def _shm(host: hosts.Host) -> Capability:
    size = host.memory.shm_total_mib
    return Capability(
        name=SHM, present=host.memory.shm_suffices,
        reason=f'/dev/shm has {size or 0} MiB',  # noqa: S108 - a tmpfs
        remedy=host.memory.remedy)


def _snapshotter(host: hosts.Host, name: str, remedy: str) -> Capability:
    """A snapshotter other than containerd's default one.

    Only containerd knows whether it has it. If containerd did not answer, it
    counts as present.
    """
    containerd = host.containerd
    if containerd is None or containerd.snapshotters is None:
        return Capability(name=name, present=True,
                          reason='the snapshotters of containerd are unknown')
    present = name in containerd.snapshotters
    return Capability(
        name=name, present=present,
        reason=f'containerd has {"the" if present else "no"} {name} '
               'snapshotter',
        remedy='' if present else remedy)


def _gpu(host: hosts.Host) -> Capability:
    count = sum(d.nvidia_gpu for d in host.iommu.devices)
    present = host.iommu.usable and count > 0
    return Capability(
        name=NVIDIA_GPU, present=present,
        reason=f'{count} NVIDIA GPUs are bound to vfio-pci'
        if host.iommu.usable else host.iommu.reason,
        remedy='' if present else host.iommu.remedy
        or 'Bind the GPU to vfio-pci: driverctl set-override PCI_ADDRESS '
        'vfio-pci.')


def _extension(host: hosts.Host, name: str) -> Capability:
    """An extension of KVM; it counts as present if KVM was not asked."""
    answer = host.kvm.capabilities.get(
        name.removeprefix('kvm-').replace('-', '_'))
    words = {None: 'was not asked for', 0: 'does not support'}.get(
        answer, 'supports')
    return Capability(
        name=name, present=answer != 0,
        reason=f'KVM {words} KVM_CAP_'
               f'{name.removeprefix("kvm-").replace("-", "_").upper()}',
        remedy='' if answer != 0 else 'Install a newer kernel or use another '
                                      'node.')


def _emulation(host: hosts.Host, allowed: bool) -> Capability:
    if not allowed:
        return Capability(
            name=TCG, present=False,
            reason='emulation is not allowed',
            remedy='For development only, set [kata] allow_emulation = '
                   'true: emulated guests are slow and not isolated '
                   'dependably.')
    return Capability(name=TCG, present=host.qemu.usable,
                      reason=host.qemu.reason if not host.qemu.usable
                      else 'QEMU emulates the CPU',
                      remedy=host.qemu.remedy)
