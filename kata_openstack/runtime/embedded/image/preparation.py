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

"""Prepare a node for the embedded runtime: image, template, settings."""

from collections.abc import Callable
import fcntl
import hashlib
import os
import pathlib
import platform
import shutil

from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.image import guest_image
from kata_openstack.runtime.embedded.image import kernel as kernel_package
from kata_openstack.runtime.embedded.vm import make_template
from kata_openstack.runtime.embedded.vm import size as sizes
from kata_openstack.runtime.embedded.vm import template

_NEEDED_MIB = 256  # a template and a part of the first VM


def prepare(conf: cfg.ConfigOpts, accelerator: str,
            progress: Callable[[str], None]) -> pathlib.Path:
    """Build missing and outdated parts; fast if there are none.

    :param accelerator: 'kvm' or 'tcg'.
    :param progress: called with a short description of each step.
    :returns: the path for ConfigPath of containerd's handler.
    :raises ToolMissing, KernelMissing, GuestImageFailed, NoSpace,
        TemplateFailed:
    """
    opts.register_opts(conf, 'DEFAULT', 'embedded')
    group = conf.embedded
    for tool, package in ((group.qemu_path, 'qemu-system-x86'),
                          (group.virtiofsd_path, 'qemu-system-common')):
        if not os.access(tool, os.X_OK):
            raise errors.ToolMissing(tool=tool, package=package)
    state = pathlib.Path(conf.state_path).absolute() / 'embedded'
    state.mkdir(parents=True, exist_ok=True)
    memory = _memory_folder(group.memory_path, state)
    initrd = state / 'initrd'
    with open(state / 'prepare.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kernel = kernel_package.unpack(
            group.kernel_package, platform.machine(), state / 'kernel',
            progress)
        key = guest_image.build(kernel, initrd, progress)
        for file in (kernel.image, initrd):
            file.chmod(0o644)  # QEMU runs as an unprivileged user
    wanted = settings.Settings(
        accelerator=accelerator,
        run_path=str(pathlib.Path(conf.run_path).absolute() / 'embedded'),
        state_path=str(state), memory_path=str(memory),
        qemu=group.qemu_path, virtiofsd=group.virtiofsd_path,
        kernel=str(kernel.image), initrd=str(initrd),
        kernel_release=kernel.release, image_key=key,
        default_memory_mib=group.default_memory_mib,
        default_vcpus=group.default_vcpus,
        max_memory_mib=group.max_memory_mib or _host_memory_mib(),
        max_vcpus=os.cpu_count() or 1,
        guest_overhead_mib=group.guest_overhead_mib,
        first_uid=group.first_uid, uids=group.uids, debug=group.debug,
        protocol=protocol.VERSION)
    _make_template(wanted, progress)
    path = state / 'embedded.json'
    wanted.save(str(path))
    return path


def _memory_folder(parent: str, state: pathlib.Path) -> pathlib.Path:
    """Create this installation's folder, named after its state folder.

    :raises NoSpace: it has no room for a template.
    """
    name = hashlib.sha256(str(state).encode()).hexdigest()[:8]
    folder = pathlib.Path(parent) / f'kata-openstack-{name}'
    folder.mkdir(mode=0o711, exist_ok=True)
    free = shutil.disk_usage(folder).free // sizes.MIB
    if free < _NEEDED_MIB:
        raise errors.NoSpace(
            path=parent, free_mib=free, needed_mib=_NEEDED_MIB,
            remedy=f'Enlarge it (mount -o remount,size=... {parent}), or '
                   'set [embedded] memory_path to a larger tmpfs.')
    return folder


def _host_memory_mib() -> int:
    return (os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
            // sizes.MIB)


def _make_template(wanted: settings.Settings,
                   progress: Callable[[str], None]) -> None:
    default = template.Template(wanted, sizes.choose({}, wanted))
    if default.exists():
        return
    progress(f'making the {wanted.accelerator} VM template')
    try:
        make_template.ensure(default)
    except template.NotMade as e:
        raise errors.TemplateFailed(why=str(e)) from e
    default.remove_older()
