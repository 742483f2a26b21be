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

"""Build the guest's initramfs: Python, the agent, crun, a few modules.

Python and crun come from the node's own Debian packages. The image holds
only the files that the agent loads, as the interpreter reports them, and
the shared libraries that they need. Python's modules are in it compiled.
"""

from collections.abc import Callable
from collections.abc import Iterable
import hashlib
import os
import pathlib
import re
import subprocess
import tempfile
from typing import Final

from kata_openstack.runtime.embedded.agent import crun
from kata_openstack.runtime.embedded.image import cpio
from kata_openstack.runtime.embedded.image import elf
from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.image import kernel as kernel_package

PREFIX: Final = 'initrd-'  # of the files
PYTHON: Final = '/usr/bin/python3'
_PACKAGE = pathlib.Path(__file__).parents[4]
_MODULES = ('virtio_pci', 'virtio_console', 'virtiofs', 'virtio_net',
            'virtio_balloon')
_FOLDERS = ('dev', 'proc', 'run', 'sys', 'tmp', 'var')
_AGENT = 'kata_openstack.runtime.embedded.agent.main'
_ARCHIVES = 'kata_openstack.runtime.archives.work'  # only a child loads it

# Lists the files that the agent loads at its start, and those of later
_LIST_FILES = f"""
import sys
sys.path.insert(0, {str(_PACKAGE)!r})
import encodings.idna, encodings.latin_1, json, {_AGENT}, {_ARCHIVES}
for module in list(sys.modules.values()):
    if getattr(module, '__file__', None):
        print(module.__file__)
"""

# Compiles a file: source, target, and the name of the source in the guest
_COMPILE = """
import py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for line in sys.stdin.read().splitlines():
    py_compile.compile(*line.split('\\t'), doraise=True, invalidation_mode=mode)
"""

_INIT = f"""#!{{python}} -IS
import sys
sys.path.insert(0, '/agent')
from {_AGENT} import main
main()
"""


def build(kernel: kernel_package.Kernel, state: pathlib.Path,
          progress: Callable[[str], None]) -> tuple[str, pathlib.Path]:
    """Write the initramfs below ``state``, unless the same one exists.

    :returns: a hash of what it is made from and of the kernel's release and
        name, and the path of the initramfs.
    :raises ToolMissing: Python or crun is not installed.
    :raises GuestImageFailed: Python cannot load or compile the agent.
    """
    # Python may compile the same source to different bytes another time
    files = _files(kernel)
    digest = hashlib.sha256(
        f'{kernel.release} {kernel.image.name}'.encode())
    for name, (content, mode) in sorted(files.items()):
        digest.update(f'{name} {mode} {len(content)}\0'.encode() + content)
    key = digest.hexdigest()
    target = state / f'{PREFIX}{key[:16]}'
    if target.exists():
        return key, target
    progress('building the guest image')
    partial = target.with_name(target.name + '.partial')
    with partial.open('wb') as out:
        archive = cpio.Archive(out)
        for folder in _FOLDERS:
            archive.folder(folder)
        for link in ('bin', 'sbin', 'lib', 'lib64'):
            archive.link(link, f'usr/{link}')
        for name, (content, mode) in sorted(_compiled(files).items()):
            archive.file(name, content, mode)
        archive.end()
    partial.rename(target)
    return key, target


def _files(kernel: kernel_package.Kernel) -> dict[str, tuple[bytes, int]]:
    """Return content and mode of each file, by its path in the guest."""
    files = {}
    python = os.path.realpath(PYTHON)
    for tool, package in ((python, 'python3'), (crun.CRUN, 'crun')):
        if not os.path.exists(tool):
            raise errors.ToolMissing(tool=tool, package=package)
    programs = {python: pathlib.Path(python).read_bytes(),
                crun.CRUN: _slim_crun()}
    for path in map(pathlib.Path, _run_python(_LIST_FILES).splitlines()):
        if path.suffix == '.so':
            programs[str(path)] = path.read_bytes()
        elif path.is_relative_to(_PACKAGE / 'kata_openstack'):
            inside = path.relative_to(_PACKAGE)
            files[f'agent/{inside}'] = (path.read_bytes(), 0o644)
        else:
            files[_usr(str(path))] = (path.read_bytes(), 0o644)
    for program, content in programs.items():
        files[_usr(program)] = (content, 0o755)
    for name, library in _libraries(programs.values()).items():
        files[_usr(name)] = (pathlib.Path(library).read_bytes(), 0o755)
    modules = kernel.modules(_MODULES)
    for name, content in modules.items():
        files[f'modules/{name}'] = (content, 0o644)
    files['modules/order'] = ('\n'.join(modules).encode(), 0o644)
    files['init'] = (_INIT.format(python=python).encode(), 0o755)
    return files


def _compiled(files: dict[str, tuple[bytes, int]]
              ) -> dict[str, tuple[bytes, int]]:
    """Return the files, with each Python source replaced by its bytecode.

    An agent that has compiled its modules has 4 MiB of memory more for ever.
    """
    found = {}
    jobs = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (content, mode)) in enumerate(files.items()):
            if not name.endswith('.py'):
                found[name] = content, mode
                continue
            source = pathlib.Path(folder, f'{number}.py')
            source.write_bytes(content)
            jobs.append((source, source.with_suffix('.pyc'), f'/{name}'))
        _run_python(_COMPILE, '\n'.join(
            '\t'.join(map(str, job)) for job in jobs))
        for _, target, name in jobs:
            # Python loads such a file if there is no source next to it
            found[f'{name.strip("/")}c'] = target.read_bytes(), 0o644
    return found


def _usr(path: str) -> str:
    """Return the path in the archive.

    In Debian, and so in the guest, /lib and /bin are links into /usr.
    """
    return re.sub(r'^/(lib|lib64|bin|sbin)/', r'usr/\1/', path).strip('/')


def _run_python(program: str, text: str = '') -> str:
    """Run a program with the guest's Python; return its output.

    :raises GuestImageFailed:
    """
    try:
        return subprocess.run(
            [os.path.realpath(PYTHON), '-ISc', program], check=True,
            input=text, capture_output=True, text=True).stdout
    except subprocess.CalledProcessError as e:
        raise errors.GuestImageFailed(why=e.stderr.strip()[-300:]) from e


def _slim_crun() -> bytes:
    program = pathlib.Path(crun.CRUN).read_bytes()
    try:
        return elf.without_library(program, 'libsystemd.so.0')
    except elf.NotSlimmed:
        return program  # crun also works with the library


def _libraries(programs: Iterable[bytes]) -> dict[str, str]:
    """Return the files of all shared libraries, by the path in ldd."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for content in programs:
            program = pathlib.Path(folder) / 'program'
            program.write_bytes(content)
            program.chmod(0o700)
            listed = subprocess.run(['ldd', program], capture_output=True,
                                    text=True).stdout
            for path in re.findall(r'(/\S+) \(0x', listed):
                found[path] = os.path.realpath(path)
    return found
