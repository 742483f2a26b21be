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

"""Firecracker: the smallest device model, and so the least offers.

Source of the facts: Kata 4.1 (Go runtime only) and Firecracker 1.12. There
is no file sharing, no device assignment and no hot-plug; the root file
system must be a block device, which the devmapper snapshotter gives.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base


class Firecracker(base.UpstreamKata):
    facts = base.Facts(
        handlers=(base.kata_handler('fc', 'block-rootfs', 'block-volume',
                                    'privileged', table='firecracker',
                                    snapshotter='devmapper'),),
        accelerators=(caps.KVM,),
        kvm_needs=(caps.KVM_USER_MEMORY, caps.KVM_IRQCHIP, caps.KVM_IRQFD,
                   caps.KVM_IOEVENTFD),
        needs=(caps.TUN, caps.DEVMAPPER),
        architectures=frozenset({'x86_64', 'aarch64'}),
        overhead_mib=130,
        overhead_cpus=0.25,
        max_vcpus=32,
        min_memory_mib=128)
