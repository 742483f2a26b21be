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

"""Prepare a node for the embedded runtime: image, template, settings.

:func:`prepare` makes what the configuration asks for. Later the distribution
has newer kernels and programs: :func:`prepare_candidate` makes a guest from
them, which only the canary uses until :func:`take_over`.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import platform
import shutil
import time
from typing import Any

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
from kata_openstack.runtime import launcher
from kata_openstack.runtime import pod_memory

_NEEDED_MIB = 256  # the smallest VM
_DAY = 86400  # seconds
# of a release that had one guest
_FORMER = ('kernel', 'initrd')


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
    with _state(conf) as state:
        path = state / settings.FILE
        guest = _build(conf, state, _load(path), progress)
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
            default_memory_mib=group.default_memory_mib,
            default_vcpus=group.default_vcpus,
            max_memory_mib=group.max_memory_mib or for_vms,
            memory_mib=limit, template_memory_mib=group.template_memory_mib,
            max_vcpus=os.cpu_count() or 1,
            guest_overhead_mib=group.guest_overhead_mib,
            hidden_cpu_features=group.hidden_cpu_features,
            first_uid=group.first_uid, uids=group.uids, debug=group.debug,
            protocol=protocol.VERSION, **guest)
        _forget_former_templates(path)
        _make_template(wanted, progress)
        launcher.SHIM.write(state)
        wanted.save(str(path))
        _remove_unused(state)
    return path


def prepare_candidate(conf: cfg.ConfigOpts,
                      progress: Callable[[str], None]) -> pathlib.Path | None:
    """Build a guest from what the distribution has now, for the canary.

    :returns: the path of its settings; None if the guest in use is the same,
        or is another release's, which the operator must prepare anew.
    :raises ToolMissing, KernelMissing, GuestImageFailed, TemplateFailed:
    """
    opts.register_opts(conf, 'DEFAULT', 'embedded', 'kata')
    with _state(conf) as state:
        current = _load(state / settings.FILE)
        candidate = state / settings.CANDIDATE
        if current is None or current.outdated:
            return None
        guest = _build(conf, state, current, progress, newest=True)
        wanted = dataclasses.replace(current, **guest)
        if wanted == current:
            _make_template(current, progress)  # QEMU may be a newer one
            candidate.unlink(missing_ok=True)
            _remove_unused(state)
            return None
        _make_template(wanted, progress)
        wanted.save(str(candidate))
    return candidate


def renew_templates(conf: cfg.ConfigOpts, age: float,
                    progress: Callable[[str], None]) -> None:
    """Make the templates again that are older than ``age``, in seconds.

    :raises TemplateFailed:
    """
    with _state(conf) as state:
        current = _load(state / settings.FILE)
        if current is None or current.outdated:
            return
        try:
            vm_memory.ensure(current)
            for old in template.older_than(current, age):
                progress(f'renewing the VM template {old.size}')
                make_template.renew(old)
        except (OSError, vm_memory.NoMemory, template.NotMade) as e:
            raise errors.TemplateFailed(why=str(e)) from e


def take_over(conf: cfg.ConfigOpts) -> None:
    """Let all sandboxes that start from now on use the candidate.

    :raises OSError: there is none.
    """
    with _state(conf) as state:
        candidate = settings.Settings.load(str(state / settings.CANDIDATE))
        candidate.save(str(state / settings.FILE))
        (state / settings.CANDIDATE).unlink()


@contextlib.contextmanager
def _state(conf: cfg.ConfigOpts) -> Iterator[pathlib.Path]:
    """Lock and return the folder of the guest and its settings."""
    state = pathlib.Path(conf.state_path).absolute() / 'embedded'
    state.mkdir(parents=True, exist_ok=True)
    # no other user may take the lock, or read which VMs there are
    state.chmod(0o700)
    with open(state / 'prepare.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield state


def _load(path: pathlib.Path) -> settings.Settings | None:
    try:
        return settings.Settings.load(str(path))
    except (OSError, ValueError):
        return None


def _build(conf: cfg.ConfigOpts, state: pathlib.Path,
           current: settings.Settings | None,
           progress: Callable[[str], None], *, newest: bool = False
           ) -> dict[str, Any]:
    """Build kernel and image; return what the settings say of them."""
    used = _kernel_folder(current, state)
    kernel = kernel_package.unpack(
        conf.embedded.kernel_package, platform.machine(), state, used,
        progress, newest=newest)
    key, initrd = guest_image.build(kernel, state, progress)
    for file in (kernel.image, initrd):
        file.chmod(0o644)  # QEMU runs as an unprivileged user
    return {'kernel': str(kernel.image), 'initrd': str(initrd),
            'kernel_release': kernel.release, 'image_key': key}


def _kernel_folder(current: settings.Settings | None, state: pathlib.Path
                   ) -> pathlib.Path | None:
    """Return the folder that was unpacked for the guest in use."""
    if current is None:
        return None
    path = pathlib.Path(current.kernel)
    if not path.is_relative_to(state) or not path.exists():
        return None
    return state / path.relative_to(state).parts[0]


def _remove_unused(state: pathlib.Path) -> None:
    """Remove the kernels and images of former guests.

    A day after they were made: a sandbox that is starting may have read the
    settings before.
    """
    used = set()
    for name in (settings.FILE, settings.CANDIDATE):
        found = _load(state / name)
        if found:
            used |= {found.initrd, str(_kernel_folder(found, state))}
    for path in state.iterdir():
        if (str(path) not in used and time.time() - path.stat().st_ctime > _DAY
                and path.name.startswith((kernel_package.PREFIX,
                                          guest_image.PREFIX, *_FORMER))):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


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
