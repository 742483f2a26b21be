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

"""Programs of the distribution that the embedded runtime uses."""

from collections.abc import Sequence
import dataclasses
import pathlib

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime.host import versions

# Debian's package of QEMU, by the kernel's name of the architecture.
_QEMU_PACKAGES = {'x86_64': 'qemu-system-x86', 'aarch64': 'qemu-system-arm',
                  's390x': 'qemu-system-misc', 'ppc64le': 'qemu-system-ppc'}
_QEMU_NAMES = {'ppc64le': 'ppc64'}


# Debian 12 has virtiofsd in QEMU's folder, later releases in /usr/libexec.
# Neither is in PATH.
_VIRTIOFSD = ('/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd')


def _program(roots: host_roots.Roots, name: str,
             configured: pathlib.Path | None, others: tuple[str, ...],
             remedy: str) -> facts.Program:
    if configured:
        path = roots.program(str(configured))
        missing = f'{configured} does not exist or is not executable'
    else:
        path = roots.program(name, *others)
        missing = f'{name} is not installed'
    return facts.Program(
        name=name, path=path,
        reason=f'{path} is installed' if path else missing,
        remedy='' if path else remedy)


def qemu(roots: host_roots.Roots, architecture: str) -> facts.Program:
    """Find QEMU's system emulator for this architecture."""
    name = f'qemu-system-{_QEMU_NAMES.get(architecture, architecture)}'
    package = _QEMU_PACKAGES.get(architecture, 'qemu-system')
    return _program(roots, name, roots.qemu, (),
                    f'Install it (apt-get install {package}) and check that '
                    '[embedded] qemu_path is its path.')


def virtiofsd(roots: host_roots.Roots) -> facts.Program:
    return _program(roots, 'virtiofsd', roots.virtiofsd, _VIRTIOFSD,
                    'Install it (apt-get install virtiofsd; on Debian 12: '
                    'qemu-system-common) and check that [embedded] '
                    'virtiofsd_path is its path.')


def with_versions(found: Sequence[facts.Program], known: versions.Known,
                  ) -> list[facts.Program]:
    """Return the programs with their versions.

    :param known: see :func:`.versions.check`.
    """
    told = versions.check([p.path for p in found if p.path], known)
    return [dataclasses.replace(p, version=told.get(str(p.path), ''))
            for p in found]
