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

"""StratoVirt, openEuler's hypervisor.

Source of the facts: Kata 4.1, which has its configuration and overhead for
the Go runtime and does not ship the program. Its sandboxes have a fixed
size, virtio-fs only, and need vhost-vsock.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base


class StratoVirt(base.UpstreamKata):
    facts = base.Facts(
        handlers=(base.kata_handler('stratovirt', 'privileged', 'shared-fs'),),
        accelerators=(caps.KVM,),
        kvm_needs=(caps.KVM_USER_MEMORY, caps.KVM_IRQCHIP,
                   caps.KVM_IOEVENTFD),
        needs=(caps.VHOST_VSOCK, caps.TUN, caps.SHM),
        architectures=frozenset({'x86_64', 'aarch64'}),
        overhead_mib=130,
        overhead_cpus=0.25)
