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

"""Cloud Hypervisor, as upstream Kata ships it.

Source of the facts: Kata 4.1. Its vsock is a Unix socket (hybrid vsock), so
the host needs no vhost-vsock; it also runs on /dev/mshv. It takes no memory
away from a running guest, and runtime-rs does not resize it at all.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base

_ALL = ('block-rootfs', 'block-volume', 'nydus', 'privileged', 'shared-fs',
        'vfio')


class CloudHypervisor(base.UpstreamKata):
    facts = base.Facts(
        handlers=(
            base.kata_handler('clh-runtime-rs', *_ALL, 'vm-template',
                              table='cloud-hypervisor'),
            base.kata_handler('clh', *_ALL, 'cpu-hotplug',
                              'memory-hotplug'),
        ),
        accelerators=(caps.KVM, caps.MSHV),
        kvm_needs=(caps.KVM_USER_MEMORY, caps.KVM_IRQFD, caps.KVM_IOEVENTFD),
        needs=(caps.TUN,),
        architectures=frozenset({'x86_64', 'aarch64'}),
        overhead_mib=130,
        overhead_cpus=0.25)
