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

"""The facts about upstream Kata's hypervisors and handlers.

Source: Kata 4.1. The overhead is from the RuntimeClasses. The architectures
are from kata-deploy's chart; for clh, fc and dragonball also aarch64, because
the archive for arm64 has their programs. The rest is from the configuration
files of both runtimes. runtime-rs has been upstream's default since 4.0, so
its handlers come first. To add a fact about handlers, add a field to
:class:`.base.Handler` and its values here.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base

_X86 = frozenset({'x86_64'})
_X86_ARM = frozenset({'x86_64', 'aarch64'})
_X86_S390 = frozenset({'x86_64', 's390x'})

_QEMU_KVM = (caps.KVM_USER_MEMORY, caps.KVM_IRQCHIP, caps.KVM_IOEVENTFD)
_RUST_VMM_KVM = (caps.KVM_USER_MEMORY, caps.KVM_IRQCHIP, caps.KVM_IRQFD,
                 caps.KVM_IOEVENTFD)

_FULL = ('block-rootfs', 'block-volume', 'cpu-hotplug', 'memory-hotplug',
         'nydus', 'privileged', 'resize', 'shared-fs', 'vfio', 'vm-template')
_CLH = ('block-rootfs', 'block-volume', 'nydus', 'privileged', 'shared-fs',
        'vfio')
_CONFIDENTIAL = ('block-volume', 'confidential', 'guest-pull', 'privileged')
_GUEST_PULL = ('block-volume', 'guest-pull', 'privileged')
_NVIDIA = ('block-volume', 'gpu', 'privileged', 'vfio')


def _both_runtimes(shim: str, *offers: str,
                   architectures: frozenset[str] = frozenset(),
                   ) -> tuple[base.Handler, ...]:
    """The handlers of a QEMU shim that runtime-rs and the Go runtime have."""
    return tuple(base.kata_handler(name, *offers, table='qemu',
                                   architectures=architectures)
                 for name in (f'{shim}-runtime-rs', shim))


class Qemu(base.UpstreamKata):
    """QEMU, which has the most offers.

    Kata's QEMU is built without TCG and its configuration sets accel=kvm, so
    it cannot emulate. It needs vhost-vsock: without it QEMU fails, although
    Kata's own host check passes. /dev/shm holds the guest's memory, which
    QEMU shares with virtiofsd.
    """

    facts = base.Facts(
        handlers=(
            *_both_runtimes('qemu', *_FULL),
            # NVIDIA's guest without a GPU
            *_both_runtimes('qemu-nvidia-cpu', 'block-rootfs', 'block-volume',
                            'privileged', 'shared-fs',
                            architectures=_X86_ARM),
            # the guest of confidential pods, on a host without the hardware,
            # for tests; it is not confidential
            base.kata_handler('qemu-coco-dev-runtime-rs', *_GUEST_PULL,
                              table='qemu',
                              architectures=_X86_ARM | _X86_S390),
            base.kata_handler('qemu-coco-dev', *_GUEST_PULL, table='qemu',
                              architectures=_X86_S390),
        ),
        accelerators=(caps.KVM,),
        kvm_needs=_QEMU_KVM,
        needs=(caps.VHOST_VSOCK, caps.TUN, caps.SHM),
        architectures=frozenset({'x86_64', 'aarch64', 's390x', 'ppc64le'}),
        overhead_mib=320,
        overhead_cpus=0.25)


class CloudHypervisor(base.UpstreamKata):
    """Cloud Hypervisor, which also runs on /dev/mshv.

    Its vsock is a Unix socket (hybrid vsock), so the host needs no
    vhost-vsock. It cannot remove memory from a running guest, and runtime-rs
    does not resize it at all.
    """

    facts = base.Facts(
        handlers=(
            base.kata_handler('clh-runtime-rs', *_CLH, 'vm-template'),
            base.kata_handler('clh', *_CLH, 'cpu-hotplug',
                              'memory-hotplug'),
            # with Microsoft's kernel for Azure
            base.kata_handler('clh-azure-runtime-rs', *_CLH, 'vm-template',
                              table='clh', architectures=_X86),
            base.kata_handler('clh-azure', *_CLH, table='clh',
                              architectures=_X86),
        ),
        accelerators=(caps.KVM, caps.MSHV),
        kvm_needs=(caps.KVM_USER_MEMORY, caps.KVM_IRQFD, caps.KVM_IOEVENTFD),
        needs=(caps.TUN,),
        architectures=_X86_ARM,
        overhead_mib=130,
        overhead_cpus=0.25)


class Dragonball(base.UpstreamKata):
    """Dragonball, which is part of runtime-rs and runs in the shim's process.

    Its virtio-fs is inline, so it needs neither virtiofsd nor /dev/shm. Its
    vsock is hybrid.
    """

    facts = base.Facts(
        handlers=(base.kata_handler('dragonball', *_FULL),),
        accelerators=(caps.KVM,),
        kvm_needs=_RUST_VMM_KVM,
        needs=(caps.TUN,),
        architectures=_X86_ARM,
        overhead_mib=130,
        overhead_cpus=0.25)


class Firecracker(base.UpstreamKata):
    """Firecracker, which has the smallest device model and few offers.

    Only the Go runtime supports it. It has no file sharing, no device
    assignment and no hot-plug. Its root file system must be a block device,
    which the devmapper snapshotter provides. Source of the limits:
    Firecracker 1.12.
    """

    facts = base.Facts(
        handlers=(base.kata_handler('fc', 'block-rootfs', 'block-volume',
                                    'privileged', table='firecracker',
                                    snapshotter='devmapper'),),
        accelerators=(caps.KVM,),
        kvm_needs=_RUST_VMM_KVM,
        needs=(caps.TUN, caps.DEVMAPPER),
        architectures=_X86_ARM,
        overhead_mib=130,
        overhead_cpus=0.25,
        max_vcpus=32,
        min_memory_mib=128)


class StratoVirt(base.UpstreamKata):
    """StratoVirt, openEuler's hypervisor.

    Upstream has its configuration and overhead for the Go runtime, but does
    not ship the program. Its sandboxes have a fixed size and share files only
    by virtio-fs.
    """

    facts = base.Facts(
        handlers=(base.kata_handler('stratovirt', 'privileged', 'shared-fs'),),
        accelerators=(caps.KVM,),
        kvm_needs=_QEMU_KVM,
        needs=(caps.VHOST_VSOCK, caps.TUN, caps.SHM),
        architectures=_X86_ARM,
        overhead_mib=130,
        overhead_cpus=0.25)


class OpenVmm(base.UpstreamKata):
    """OpenVMM, Microsoft's hypervisor for Azure; only in runtime-rs."""

    facts = base.Facts(
        handlers=(base.kata_handler('openvmm-azure-runtime-rs', 'privileged',
                                    'shared-fs', table='openvmm'),),
        accelerators=(caps.MSHV, caps.KVM),
        needs=(caps.TUN,),
        architectures=_X86,
        overhead_mib=130,
        overhead_cpus=0.25)


class Remote(base.UpstreamKata):
    """Virtual machines of a cloud as sandboxes ("peer pods").

    This host runs no guest, so it needs neither KVM nor vsock, only the
    socket of the cloud-api-adaptor. The guest cannot access files of the host
    and pulls images itself. How well the cloud isolates its machines is
    unknown to this host.
    """

    facts = base.Facts(
        handlers=(base.kata_handler('remote', 'guest-pull', 'privileged'),),
        accelerators=(caps.REMOTE,),
        needs=(),
        architectures=frozenset({'x86_64', 'ppc64le', 's390x'}),
        overhead_mib=120,
        overhead_cpus=0.25)


# The host cannot read the memory of the following guests. It shares no files
# with them, so they pull images themselves. Their size is fixed, because it
# is measured at boot. The overhead is for firmware, measured boot and image
# storage in the guest.

class QemuSnp(base.UpstreamKata):
    """QEMU with AMD SEV-SNP."""

    facts = base.Facts(
        handlers=_both_runtimes('qemu-snp', *_CONFIDENTIAL, 'sev-snp'),
        accelerators=(caps.KVM,),
        kvm_needs=_QEMU_KVM,
        needs=(caps.SEV_SNP, caps.VHOST_VSOCK, caps.TUN),
        architectures=_X86,
        overhead_mib=2048,
        overhead_cpus=1.0)


class QemuTdx(base.UpstreamKata):
    """QEMU with Intel TDX, for which KVM may not emulate the I/O APIC."""

    facts = base.Facts(
        handlers=_both_runtimes('qemu-tdx', *_CONFIDENTIAL, 'tdx'),
        accelerators=(caps.KVM,),
        kvm_needs=(*_QEMU_KVM, caps.KVM_SPLIT_IRQCHIP),
        needs=(caps.TDX, caps.VHOST_VSOCK, caps.TUN),
        architectures=_X86,
        overhead_mib=2048,
        overhead_cpus=1.0)


class QemuSe(base.UpstreamKata):
    """QEMU with IBM Secure Execution."""

    facts = base.Facts(
        handlers=_both_runtimes('qemu-se', *_CONFIDENTIAL, 'se'),
        accelerators=(caps.KVM,),
        kvm_needs=(caps.KVM_USER_MEMORY, caps.KVM_IOEVENTFD),
        needs=(caps.SE, caps.VHOST_VSOCK, caps.TUN),
        architectures=frozenset({'s390x'}),
        overhead_mib=1024,
        overhead_cpus=1.0)


def _nvidia(handlers: tuple[base.Handler, ...], *needs: str,
            architectures: frozenset[str] = _X86) -> base.Facts:
    """Return the facts; most of the overhead is the GPU's driver."""
    return base.Facts(
        handlers=handlers,
        accelerators=(caps.KVM,),
        kvm_needs=_QEMU_KVM,
        needs=(*needs, caps.NVIDIA_GPU, caps.VHOST_VSOCK, caps.TUN),
        architectures=architectures,
        overhead_mib=10240,
        overhead_cpus=1.0)


class NvidiaGpu(base.UpstreamKata):
    """QEMU with an NVIDIA GPU and its driver in the guest."""

    facts = _nvidia(
        (base.kata_handler('qemu-nvidia-gpu-runtime-rs', *_NVIDIA,
                           'block-rootfs', 'shared-fs', table='qemu'),
         base.kata_handler('qemu-nvidia-gpu', *_NVIDIA, 'block-rootfs',
                           'shared-fs', table='qemu', architectures=_X86)),
        caps.SHM, architectures=_X86_ARM)


class NvidiaGpuSnp(base.UpstreamKata):
    """QEMU with an NVIDIA GPU, confidential with AMD SEV-SNP."""

    facts = _nvidia(
        _both_runtimes('qemu-nvidia-gpu-snp', *_NVIDIA, 'confidential',
                       'guest-pull', 'sev-snp'), caps.SEV_SNP)


class NvidiaGpuTdx(base.UpstreamKata):
    """QEMU with an NVIDIA GPU, confidential with Intel TDX."""

    facts = _nvidia(
        _both_runtimes('qemu-nvidia-gpu-tdx', *_NVIDIA, 'confidential',
                       'guest-pull', 'tdx'), caps.TDX)


_NEMU = ('clh', 'NEMU ended in 2019 and became Cloud Hypervisor')
_RUNV = ('qemu', "Hyper's runV was merged into Kata Containers")
_CLEAR = ('qemu', 'Intel Clear Containers were merged into Kata Containers')
_CLH_NAME = ('clh', 'Kata calls Cloud Hypervisor clh')
_FC_NAME = ('fc', 'Kata calls Firecracker fc')
_SEV = ('qemu-snp', 'SEV gave way to SEV-SNP in Kata 3')

# Names in older guides: the hypervisor that replaced them, and why.
FORMER_NAMES = {
    'nemu': _NEMU, 'kata-nemu': _NEMU,
    'runv': _RUNV, 'hyper': _RUNV, 'kata-runv': _RUNV,
    'clear-containers': _CLEAR, 'cc-runtime': _CLEAR, 'cor': _CLEAR,
    'cc': _CLEAR, 'clearcontainers': _CLEAR,
    'kata-runtime': ('qemu', 'Kata has run one shim for each sandbox since '
                             'Kata 2'),
    'cloud-hypervisor': _CLH_NAME, 'kata-cloud-hypervisor': _CLH_NAME,
    'firecracker': _FC_NAME, 'kata-firecracker': _FC_NAME,
    'qemu-sev': _SEV, 'kata-qemu-sev': _SEV,
}


def successor(name: str) -> tuple[str, str] | None:
    """Return the hypervisor that replaced ``name``, and why, or None."""
    return FORMER_NAMES.get(name.strip().lower().replace('_', '-'))
