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

"""Remote: sandboxes are virtual machines of a cloud ("peer pods").

Source of the facts: Kata 4.1 (Go runtime). This host runs no guest, so it
needs neither KVM nor vsock, only the adaptor's socket. Nothing of the host
reaches the guest, and images are pulled inside it. How well the cloud
isolates its machines cannot be judged from here.
"""

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.hypervisors import base


class Remote(base.UpstreamKata):
    facts = base.Facts(
        handlers=(base.kata_handler('remote', 'guest-pull',
                                    'privileged'),),
        accelerators=(caps.REMOTE,),
        needs=(),
        architectures=frozenset({'x86_64', 's390x'}),
        overhead_mib=120,
        overhead_cpus=0.25)
