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

"""QEMU with guests whose memory the host cannot read.

Source of the facts: Kata 4.1. The host shares nothing with such a guest:
images are pulled inside, and sizes are fixed when it is measured. The
overhead is firmware, measured boot and guest-side image storage.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base
from kata_openstack.runtime.hypervisors import qemu


def _handlers(shim: str, kind: str) -> tuple[base.Handler, ...]:
    offers = ('block-volume', 'confidential', 'guest-pull', 'privileged',
              kind)
    return (base.kata_handler(f'{shim}-runtime-rs', *offers, table='qemu'),
            base.kata_handler(shim, *offers, table='qemu'))


class QemuSnp(base.UpstreamKata):
    """AMD SEV-SNP."""

    facts = base.Facts(
        handlers=_handlers('qemu-snp', 'sev-snp'),
        accelerators=(caps.KVM,),
        kvm_needs=qemu.KVM_NEEDS,
        needs=(caps.SEV_SNP, caps.VHOST_VSOCK, caps.TUN),
        architectures=frozenset({'x86_64'}),
        overhead_mib=2048,
        overhead_cpus=1.0)


class QemuTdx(base.UpstreamKata):
    """Intel TDX."""

    facts = base.Facts(
        handlers=_handlers('qemu-tdx', 'tdx'),
        accelerators=(caps.KVM,),
        # the guest's interrupt controller is not QEMU's to emulate
        kvm_needs=(*qemu.KVM_NEEDS, caps.KVM_SPLIT_IRQCHIP),
        needs=(caps.TDX, caps.VHOST_VSOCK, caps.TUN),
        architectures=frozenset({'x86_64'}),
        overhead_mib=2048,
        overhead_cpus=1.0)


class QemuSe(base.UpstreamKata):
    """IBM Secure Execution."""

    facts = base.Facts(
        handlers=_handlers('qemu-se', 'se'),
        accelerators=(caps.KVM,),
        kvm_needs=(caps.KVM_USER_MEMORY, caps.KVM_IOEVENTFD),
        needs=(caps.SE, caps.VHOST_VSOCK, caps.TUN),
        architectures=frozenset({'s390x'}),
        overhead_mib=1024,
        overhead_cpus=1.0)
