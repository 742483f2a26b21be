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

"""Dragonball: the hypervisor inside runtime-rs, in the shim's process.

Source of the facts: Kata 4.1. Its virtio-fs is inline, so there is no
virtiofsd and nothing is kept in /dev/shm; its vsock is hybrid.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base


class Dragonball(base.UpstreamKata):
    facts = base.Facts(
        handlers=(base.kata_handler(
            'dragonball', 'block-rootfs', 'block-volume',
            'cpu-hotplug', 'memory-hotplug', 'nydus', 'privileged', 'resize',
            'shared-fs', 'vfio', 'vm-template'),),
        accelerators=(caps.KVM,),
        kvm_needs=(caps.KVM_USER_MEMORY, caps.KVM_IRQCHIP, caps.KVM_IRQFD,
                   caps.KVM_IOEVENTFD),
        needs=(caps.TUN,),
        architectures=frozenset({'x86_64', 'aarch64'}),
        overhead_mib=130,
        overhead_cpus=0.25)
