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

"""QEMU, as upstream Kata ships it: it supports the most.

Source of the facts: Kata 4.1 (RuntimeClasses for the overhead, both
runtimes' configuration for the rest). runtime-rs is upstream's default
since 4.0 and goes first. Kata's QEMU is built without TCG and its
configuration fixes accel=kvm: there is no emulation here.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base

ALL = ('block-rootfs', 'block-volume', 'cpu-hotplug', 'memory-hotplug',
       'nydus', 'privileged', 'resize', 'shared-fs', 'vfio')
# what QEMU asks of KVM, whatever its variant
KVM_NEEDS = (caps.KVM_USER_MEMORY, caps.KVM_IRQCHIP, caps.KVM_IOEVENTFD)


class Qemu(base.UpstreamKata):
    facts = base.Facts(
        handlers=(
            base.kata_handler('qemu-runtime-rs', *ALL, 'vm-template'),
            base.kata_handler('qemu', *ALL, 'vm-template'),
        ),
        accelerators=(caps.KVM,),
        kvm_needs=KVM_NEEDS,
        # without vhost-vsock the host check of Kata passes and QEMU fails;
        # /dev/shm holds the guest's memory, which virtiofsd shares
        needs=(caps.VHOST_VSOCK, caps.TUN, caps.SHM),
        architectures=frozenset({'x86_64', 'aarch64', 's390x', 'ppc64le'}),
        overhead_mib=320,
        overhead_cpus=0.25)
