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

"""[embedded]: this project's own runtime, from distribution packages."""

from oslo_config import cfg

GROUP = cfg.OptGroup('embedded', title='Embedded runtime')

OPTS = [
    cfg.StrOpt(
        'qemu_path',
        default='/usr/bin/qemu-system-x86_64',
        help='The QEMU program (Debian: qemu-system-x86).'),
    cfg.StrOpt(
        'virtiofsd_path',
        default='/usr/lib/qemu/virtiofsd',
        help='The virtiofsd program (Debian 12: qemu-system-common; '
             'Debian 13: /usr/libexec/virtiofsd of virtiofsd).'),
    cfg.StrOpt(
        'kernel_package',
        default='',
        help='A linux-image-*-cloud-*.deb file with the kernel for the '
             'guests. It is unpacked, not installed. Empty: the newest '
             'that apt offers is downloaded.'),
    cfg.StrOpt(
        'memory_path',
        default='/dev/shm',  # noqa: S108 - the tmpfs is meant
        help="A tmpfs for templates and for the VMs' memory; a folder is "
             'made in it.'),
    cfg.IntOpt(
        'default_memory_mib',
        default=256, min=128,
        help='Memory of a sandbox for which no memory was asked.'),
    cfg.IntOpt(
        'default_vcpus',
        default=1, min=1,
        help='Virtual CPUs of a sandbox for which no CPU limit was asked.'),
    cfg.IntOpt(
        'max_memory_mib',
        default=0, min=0,
        help='The largest sandbox. 0: what the host has.'),
    cfg.IntOpt(
        'guest_overhead_mib',
        default=96, min=32,
        help="Added to the memory that a pod asks for, for the guest's "
             'kernel and agent.'),
    cfg.IntOpt(
        'first_uid',
        default=1_900_000_000, min=1000,
        help='Each QEMU process runs as a user id of its own, from a range '
             'that begins here. Nothing else may use the range.'),
    cfg.IntOpt(
        'uids',
        default=65536, min=16,
        help='Size of that range: the number of sandboxes, and one.'),
    cfg.BoolOpt(
        'debug',
        default=False,
        help="Log every step of a sandbox's start to containerd's log."),
]
