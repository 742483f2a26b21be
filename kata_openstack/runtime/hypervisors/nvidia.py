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

"""QEMU with an NVIDIA GPU and its driver in the guest.

Source of the facts: Kata 4.1. The guest image holds the driver, which costs
most of the overhead; a guest needs 8 GiB by default.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base
from kata_openstack.runtime.hypervisors import qemu

_OFFERS = ('block-volume', 'gpu', 'privileged', 'vfio')


def _facts(shim: str, *needs: str, offers: tuple[str, ...]) -> base.Facts:
    return base.Facts(
        handlers=(base.kata_handler(f'{shim}-runtime-rs', *offers,
                                    table='qemu'),
                  base.kata_handler(shim, *offers, table='qemu')),
        accelerators=(caps.KVM,),
        kvm_needs=qemu.KVM_NEEDS,
        needs=(*needs, caps.NVIDIA_GPU, caps.VHOST_VSOCK, caps.TUN),
        architectures=frozenset({'x86_64'}),
        overhead_mib=10240,
        overhead_cpus=1.0)


class NvidiaGpu(base.UpstreamKata):
    facts = _facts('qemu-nvidia-gpu', caps.SHM,
                   offers=(*_OFFERS, 'block-rootfs', 'shared-fs'))


class NvidiaGpuSnp(base.UpstreamKata):
    facts = _facts('qemu-nvidia-gpu-snp', caps.SEV_SNP,
                   offers=(*_OFFERS, 'confidential', 'guest-pull',
                           'sev-snp'))


class NvidiaGpuTdx(base.UpstreamKata):
    facts = _facts('qemu-nvidia-gpu-tdx', caps.TDX,
                   offers=(*_OFFERS, 'confidential', 'guest-pull', 'tdx'))
