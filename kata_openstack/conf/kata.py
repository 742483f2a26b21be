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

"""[kata]: the hypervisors that this node may use."""

from oslo_config import cfg

GROUP = cfg.OptGroup('kata', title='Choice of the hypervisor')

OPTS = [
    cfg.ListOpt(
        'hypervisor_order',
        # Cloud Hypervisor boots fastest, needs the least memory per sandbox
        # (130 MiB; QEMU: 320 MiB) and no vhost-vsock. QEMU supports the most
        # needs. The embedded runtime runs on any host.
        default=['clh', 'qemu', 'embedded'],
        help='Hypervisors that this node may use, in order of preference. A '
             'pod gets the first one that runs on this host and meets the '
             'needs of the pod. The node never uses a hypervisor that is not '
             'in this list. Known hypervisors besides those of the default: '
             'dragonball, fc, stratovirt, openvmm, remote, qemu-snp, '
             'qemu-tdx, qemu-se, nvidia-gpu, nvidia-gpu-snp, '
             'nvidia-gpu-tdx, and those from other installed packages.'),
    cfg.ListOpt(
        'allowed_handlers',
        default=[],
        help='Runtime handlers that pods may use, such as kata-clh. Empty: '
             'the handlers of all hypervisors in hypervisor_order.'),
    cfg.StrOpt(
        'minimum_isolation',
        default='none',
        choices=[
            ('none', 'Any hypervisor that this node may use, including '
                     'emulated and remote ones.'),
            ('hardware', 'Hardware virtualization on this node: the CPU '
                         'separates guest and host.'),
            ('confidential', "The host cannot read the guest's memory: "
                             'SEV-SNP, TDX or Secure Execution.')],
        help='Minimum isolation level for pods on this node. A request can '
             'raise the level, but not lower it.'),
    cfg.BoolOpt(
        'allow_emulation',
        default=False,
        help='Allow the embedded hypervisor to emulate the CPU (QEMU TCG) on '
             'a host without usable KVM. Emulation is not a security '
             'boundary: the QEMU project does not handle flaws in it as '
             'security bugs, and advises against relying on it to isolate a '
             'guest from the host. Use it for development and tests only, '
             'never for untrusted tenants. Pods with emulation have the '
             'isolation level "none", and run slower by a factor of ten or '
             'more.'),
    cfg.BoolOpt(
        'use_metadata_service',
        deprecated_name='ask_metadata_service',
        default=False,
        help="Ask Nova's metadata service whether this node is a Nova "
             'instance, if neither the firmware nor a config drive shows it. '
             'The request takes a second on hosts without a metadata '
             'service.'),
    cfg.IntOpt(
        'pod_memory_mib',
        default=0, min=0,
        help='Memory, in MiB, that all pods of this node may use together: '
             'VMs with their overhead, and VM templates. A pod that would '
             'exceed it is refused. Other services of the node need the '
             'rest. 0: seven eighths of the memory of the host.'),
    cfg.StrOpt(
        'kata_root',
        default='/opt/kata',
        help='Folder that contains an unpacked release of Kata Containers.'),
    cfg.DictOpt(
        'snapshotters',
        default={},
        help='containerd snapshotters of runtime handlers, as '
             'handler:snapshotter, for example kata-clh:devmapper. Handlers '
             'that are not listed use the default snapshotter; kata-fc uses '
             'devmapper.'),
]
