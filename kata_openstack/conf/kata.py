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

"""[kata]: which hypervisors this node may use."""

from oslo_config import cfg

GROUP = cfg.OptGroup('kata', title='Choice of the hypervisor')

OPTS = [
    cfg.ListOpt(
        'hypervisor_order',
        # Cloud Hypervisor boots fastest and costs the least memory per
        # sandbox (130 MiB against QEMU's 320) and needs no vhost-vsock;
        # QEMU supports the most; the embedded one runs anywhere.
        default=['clh', 'qemu', 'embedded'],
        help='The hypervisors that this node may use, the preferred one '
             'first. A pod gets the first that can run on this host and '
             'offers what the pod needs. A hypervisor that is not named '
             'here is never used. Beside those of the default there are '
             'dragonball, fc, stratovirt, openvmm, remote, qemu-snp, '
             'qemu-tdx, qemu-se, nvidia-gpu, nvidia-gpu-snp, '
             'nvidia-gpu-tdx, and those that other packages bring.'),
    cfg.ListOpt(
        'allowed_handlers',
        default=[],
        help='The runtime handlers that pods may have, such as kata-clh. '
             'Empty for all of the hypervisors in hypervisor_order.'),
    cfg.StrOpt(
        'minimum_isolation',
        default='none',
        choices=[
            ('none', 'Any hypervisor that this node may use, also an '
                     'emulated or remote one.'),
            ('hardware', "The CPU keeps guest and host apart: hardware "
                         'virtualization on this node.'),
            ('confidential', "The host cannot read the guest's memory: "
                             'SEV-SNP, TDX or Secure Execution.')],
        help='The least isolation that a pod on this node gets. A request '
             'may ask for more, never for less.'),
    cfg.BoolOpt(
        'allow_emulation',
        default=False,
        help='Let the embedded hypervisor emulate the CPU (QEMU TCG) on a '
             'host without usable KVM. The isolation is that of a virtual '
             'machine, but guests are slow by a factor of ten or more.'),
    cfg.BoolOpt(
        'ask_metadata_service',
        default=False,
        help="Ask Nova's metadata service whether this node is itself an "
             'instance, where neither firmware nor a config drive tells. '
             'It takes a second where there is none.'),
    cfg.StrOpt(
        'kata_root',
        default='/opt/kata',
        help='Folder to which a release of Kata Containers was unpacked.'),
    cfg.DictOpt(
        'snapshotters',
        default={},
        help='containerd snapshotter for each runtime handler that must '
             'not use the default one, as handler:snapshotter, for example '
             'kata-clh:devmapper. kata-fc uses devmapper unless another one '
             'is named here.'),
]
