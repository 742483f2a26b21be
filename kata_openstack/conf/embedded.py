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

"""[embedded]: this project's own runtime, made of distribution packages."""

from oslo_config import cfg
from oslo_config import types

GROUP = cfg.OptGroup('embedded', title='Embedded runtime')

OPTS = [
    cfg.StrOpt(
        'qemu_path',
        default='',
        help='Path of the QEMU program. Empty: search PATH for '
             'qemu-system-x86_64, which is in the package qemu-system-x86 '
             'of Debian and Ubuntu.'),
    cfg.StrOpt(
        'virtiofsd_path',
        default='',
        help='Path of the virtiofsd program. Empty: search PATH, '
             '/usr/libexec and /usr/lib/qemu. It is in the package virtiofsd; '
             'in Debian 12, in qemu-system-common.'),
    cfg.StrOpt(
        'kernel_package',
        default='',
        help='Path of a linux-image-*-cloud-*.deb file with the kernel for '
             'the guests. The file is unpacked, not installed. Empty: '
             'keep the kernel that is already unpacked; if there is none, '
             'download the newest such package with apt.'),
    cfg.IntOpt(
        'update_interval',
        default=86400, min=0,
        help='Seconds from one update of the guest to the next: kata-compute '
             'builds a guest with the newest kernel that apt knows (or with '
             'kernel_package, if that has changed) and with the Python and '
             'crun of the node. Pods that start use it once its canary '
             'sandbox has passed. VM templates of more than 7 days are made '
             'again. 0: no updates.'),
    cfg.IntOpt(
        'template_memory_mib',
        default=512, min=192,
        help='Part of [kata] pod_memory_mib, in MiB, for VM templates. A '
             'template uses about 60 MiB, and 2 MiB for each 100 MiB of its '
             'VM. There is one for each size of VMs; the least recently used '
             'ones are removed.'),
    cfg.IntOpt(
        'default_memory_mib',
        default=256, min=128,
        help='Memory, in MiB, of the VM of a sandbox without a memory '
             'limit.'),
    cfg.IntOpt(
        'default_vcpus',
        default=1, min=1,
        help='Number of virtual CPUs of a sandbox without a CPU limit.'),
    cfg.IntOpt(
        'max_memory_mib',
        default=0, min=0,
        help='Maximum memory, in MiB, of the VM of a sandbox. 0: all that '
             'VMs on this node may use.'),
    cfg.IntOpt(
        'guest_overhead_mib',
        default=96, min=32,
        help='Memory, in MiB, that is added to the requested memory of a pod '
             'for the kernel and the agent of the guest.'),
    cfg.ListOpt(
        'hidden_cpu_features',
        item_type=types.String(regex='[a-z0-9][a-z0-9._-]*'),
        default=['vmx', 'svm', 'pmu'],
        help="Features of the host's CPU that guests do not get, as QEMU "
             'names them. By default: nested virtualisation (vmx of Intel, '
             'svm of AMD), whose emulation in the kernel of the host had '
             'errors that let guests out, and the performance counters '
             '(pmu), which can tell a guest about its neighbours. Remove one '
             'from the list only if your tenants need it and you trust '
             'them.'),
    cfg.IntOpt(
        'first_uid',
        default=1_900_000_000, min=1000,
        help='First user ID of the range for QEMU processes. Each QEMU '
             'process runs with a user ID of its own. No other program or '
             'user may use this range.'),
    cfg.IntOpt(
        'uids',
        default=65536, min=16,
        help='Number of user IDs in the range that starts at first_uid. One '
             'is for the VM template, the others limit the number of '
             'sandboxes that run at the same time.'),
    cfg.BoolOpt(
        'debug',
        default=False,
        help='Write each step of the start of a sandbox to the log of '
             'containerd.'),
]
