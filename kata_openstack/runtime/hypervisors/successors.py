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

"""Names that older guides use, and what took their place."""

# By the name of the hypervisor or of the runtime, as it was written; what
# became of it is Kata's own history, 2017 to 2020.
_NEMU = ('clh', 'NEMU ended in 2019 and became Cloud Hypervisor')
_RUNV = ('qemu', "Hyper's runV was merged into Kata Containers")
_CLEAR = ('qemu', 'Intel Clear Containers were merged into Kata Containers')
_KATA_1 = ('qemu', 'Kata 1.x is one shim a sandbox since Kata 2')

_SUCCESSORS = {
    'nemu': _NEMU, 'kata-nemu': _NEMU,
    'runv': _RUNV, 'hyper': _RUNV, 'kata-runv': _RUNV,
    'clear-containers': _CLEAR, 'cc-runtime': _CLEAR, 'cor': _CLEAR,
    'cc': _CLEAR, 'clearcontainers': _CLEAR,
    'kata-runtime': _KATA_1,
    'cloud-hypervisor': ('clh', 'Kata calls Cloud Hypervisor clh'),
    'kata-cloud-hypervisor': ('clh', 'Kata calls Cloud Hypervisor clh'),
    'firecracker': ('fc', 'Kata calls Firecracker fc'),
    'kata-firecracker': ('fc', 'Kata calls Firecracker fc'),
    'qemu-sev': ('qemu-snp', 'SEV gave way to SEV-SNP in Kata 3'),
    'kata-qemu-sev': ('qemu-snp', 'SEV gave way to SEV-SNP in Kata 3'),
}


def find(name: str) -> tuple[str, str] | None:
    """The hypervisor to use instead of ``name``, and why; None if unknown."""
    return _SUCCESSORS.get(name.strip().lower().replace('_', '-'))
