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
import json
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
from kata_openstack.runtime.embedded.virtiofs import options
from kata_openstack.runtime.embedded.vm import size as sizes
from kata_openstack.runtime.embedded.vm.templates import make_template
from kata_openstack.runtime.embedded.vm.templates import template
from kata_openstack.runtime.embedded.vm import vm_memory
from kata_openstack.runtime.host.checks import programs
from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime import pod_memory

_NEEDED_MIB = 256  # the smallest VM


def prepare(conf: cfg.ConfigOpts, accelerator: str,
            progress: Callable[[str], None]) -> pathlib.Path:
    """Build missing and outdated parts; fast if there are none.

    :param accelerator: 'kvm' or 'tcg'.
    :param progress: called with a short description of each step.
    :returns: the path for ConfigPath of containerd's handler.
    :raises ProgramMissing, ToolMissing, KernelMissing, GuestImageFailed,
        NoSpace, TemplateFailed:
    """
    opts.register_opts(conf, 'DEFAULT', 'embedded', 'kata')
    group = conf.embedded
    qemu, virtiofsd = _programs(conf)
    state = pathlib.Path(conf.state_path).absolute() / 'embedded'
    state.mkdir(parents=True, exist_ok=True)
    # no other user may take the lock, or read which VMs there are
    state.chmod(0o700)
    initrd = state / 'initrd'
    with open(state / 'prepare.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kernel = kernel_package.unpack(
            group.kernel_package, platform.machine(), state / 'kernel',
            progress)
        key = guest_image.build(kernel, initrd, progress)
        for file in (kernel.image, initrd):
            file.chmod(0o644)  # QEMU runs as an unprivileged user
    limit = pod_memory.limit_mib(conf)
    for_vms = limit - group.template_memory_mib
    if for_vms < _NEEDED_MIB:
        raise errors.NoSpace(limit_mib=limit, needed_mib=_NEEDED_MIB
                             + group.template_memory_mib)
    wanted = settings.Settings(
        accelerator=accelerator,
        run_path=str(pathlib.Path(conf.run_path).absolute() / 'embedded'),
        state_path=str(state),
        qemu=qemu, virtiofsd=virtiofsd,
        virtiofsd_options=options.supported(virtiofsd),
        kernel=str(kernel.image), initrd=str(initrd),
        kernel_release=kernel.release, image_key=key,
        default_memory_mib=group.default_memory_mib,
        default_vcpus=group.default_vcpus,
        max_memory_mib=group.max_memory_mib or for_vms,
        memory_mib=limit, template_memory_mib=group.template_memory_mib,
        max_vcpus=os.cpu_count() or 1,
        guest_overhead_mib=group.guest_overhead_mib,
        hidden_cpu_features=group.hidden_cpu_features,
        first_uid=group.first_uid, uids=group.uids, debug=group.debug,
        protocol=protocol.VERSION)
    path = state / 'embedded.json'
    _forget_former_templates(path)
    _make_template(wanted, progress)
    wanted.save(str(path))
    return path


def _programs(conf: cfg.ConfigOpts) -> list[str]:
    """Return the paths of QEMU and virtiofsd, as the host check finds them.

    :raises ProgramMissing:
    """
    roots = host_roots.Roots.configured(conf)
    found = (programs.qemu(roots, platform.machine()),
             programs.virtiofsd(roots))
    for program in found:
        if program.path is None:
            raise errors.ProgramMissing(why=program.reason,
                                        remedy=program.remedy)
    return [str(program.path) for program in found]


def _forget_former_templates(path: pathlib.Path) -> None:
    """Remove the templates of a release that kept their RAM in /dev/shm.

    Such a release's running VMs have their memory open, and lose nothing.

    :param path: of the settings, which name the folder.
    """
    for file in path.parent.glob('template-*.state'):
        file.unlink()
    try:
        folder = json.loads(path.read_text()).get('memory_path')
    except (OSError, ValueError, AttributeError):
        return
    if folder and pathlib.Path(folder).name.startswith('kata-openstack-'):
        shutil.rmtree(folder, ignore_errors=True)


def _make_template(wanted: settings.Settings,
                   progress: Callable[[str], None]) -> None:
    """Make the template of the default size.

    :raises TemplateFailed:
    """
    try:
        vm_memory.mount(wanted)
        default = template.Template(wanted, sizes.choose({}, wanted))
        files = default.open()
        if files is None:
            progress(f'making the {wanted.accelerator} VM template')
            files = make_template.ensure(default)
        files.close()
    except (OSError, sizes.TooBig, vm_memory.NoMemory, template.NotMade) as e:
        raise errors.TemplateFailed(why=str(e)) from e
