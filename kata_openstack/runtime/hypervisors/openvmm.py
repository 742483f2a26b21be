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

"""OpenVMM, Microsoft's hypervisor, in runtime-rs.

Source of the facts: Kata 4.1, whose one handler is Azure's. Only what is
certain is offered.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base


class OpenVmm(base.UpstreamKata):
    facts = base.Facts(
        handlers=(base.kata_handler('openvmm-azure-runtime-rs', 'privileged',
                                    'shared-fs', table='openvmm'),),
        accelerators=(caps.MSHV, caps.KVM),
        needs=(caps.TUN,),
        architectures=frozenset({'x86_64'}),
        overhead_mib=130,
        overhead_cpus=0.25)
