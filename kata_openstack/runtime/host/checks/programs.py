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
import re

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime.host import versions

# Debian's package of QEMU, by the kernel's name of the architecture.
_QEMU_PACKAGES = {'x86_64': 'qemu-system-x86', 'aarch64': 'qemu-system-arm',
                  's390x': 'qemu-system-misc', 'ppc64le': 'qemu-system-ppc'}
_QEMU_NAMES = {'ppc64le': 'ppc64'}

# The folders of virtiofsd below /usr, which are not in PATH. The second one
# is QEMU's; the one in Rust is in the first and, in Debian, a link in both.
_VIRTIOFSD_FOLDERS = ('libexec', 'lib/qemu')
# The last releases whose QEMU, older than 8.0, has a virtiofsd of its own.
_LAST_OF_QEMU = {'debian': 12.0, 'ubuntu': 23.04}


def _program(roots: host_roots.Roots, name: str, option: str,
             folders: Sequence[str], remedy: str) -> facts.Program:
    """Find a program.

    :param option: the option, and the field of ``roots``, with its path;
        without that, PATH and then ``folders`` below /usr are searched.
    """
    configured = getattr(roots, option)
    if configured:
        path = roots.program(str(configured))
        missing = f'{configured} does not exist or is not executable'
        remedy = (f'Correct [embedded] {option}_path, or remove the option: '
                  'then the program is searched for.')
    else:
        places = [roots.usr / folder for folder in folders]
        path = roots.program(name, *(str(place / name) for place in places))
        missing = f'{name} is not installed: it is not in ' + ', '.join(
            ('PATH', *map(str, places)))
    return facts.Program(
        name=name, path=path,
        reason=f'{path} is installed' if path else missing,
        remedy='' if path else remedy)


def qemu(roots: host_roots.Roots, architecture: str) -> facts.Program:
    """Find QEMU's system emulator for this architecture."""
    name = f'qemu-system-{_QEMU_NAMES.get(architecture, architecture)}'
    package = _QEMU_PACKAGES.get(architecture, 'qemu-system')
    return _program(roots, name, 'qemu', (),
                    f'Install it: apt-get install {package}')


def virtiofsd(roots: host_roots.Roots) -> facts.Program:
    return _program(roots, 'virtiofsd', 'virtiofsd', _VIRTIOFSD_FOLDERS,
                    f'Install it: apt-get install {_virtiofsd_package(roots)}')


def _virtiofsd_package(roots: host_roots.Roots) -> str:
    text = (roots.read(roots.etc / 'os-release')
            or roots.read(roots.usr / 'lib/os-release'))
    told = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    last = _LAST_OF_QEMU.get(told.get('ID', ''))
    if last is None:
        return ('virtiofsd, or qemu-system-common where QEMU is older than '
                '8.0')
    version = told.get('VERSION_ID', '')
    # Debian's testing and unstable have no version
    old = re.fullmatch(r'\d+(\.\d+)?', version) and float(version) <= last
    return 'qemu-system-common' if old else 'virtiofsd'


def with_versions(found: Sequence[facts.Program], known: versions.Known,
                  ) -> list[facts.Program]:
    """Return the programs with their versions.

    :param known: see :func:`.versions.check`.
    """
    told = versions.check([p.path for p in found if p.path], known)
    return [dataclasses.replace(p, version=told.get(str(p.path), ''))
            for p in found]
