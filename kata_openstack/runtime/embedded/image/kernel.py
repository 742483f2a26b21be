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

"""The guest's kernel, unpacked from Debian's cloud kernel package.

The node does not install the package. [embedded] kernel_package names the
package file. Without that option, the kernel in use stays until an update
asks for the newest one that apt knows. Each package has a folder of its own,
so a VM that starts keeps its kernel while another one is unpacked.
"""

from collections.abc import Callable
from collections.abc import Iterable
import hashlib
import lzma
import pathlib
import re
import subprocess
import tarfile
import tempfile

from kata_openstack.runtime.embedded.image import bzimage
from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.image import vmlinux

PREFIX = 'kernel-'  # of the folders
_STAMP = 'package'  # this file in the folder says which one it is
_FORM = 'slim'  # in the stamp: folders of former releases are outdated
_PLAIN, _SLIM = 'vmlinux', 'vmlinux-slim'  # the ELF kernel, see vmlinux.slim
_META = {'x86_64': 'linux-image-cloud-amd64',
         'aarch64': 'linux-image-cloud-arm64'}


class Kernel:
    """An unpacked kernel package."""

    def __init__(self, folder: pathlib.Path) -> None:
        """:param folder: holds boot/vmlinuz-* and lib/modules/*."""
        self.folder = folder
        packed = next(folder.glob('boot/vmlinuz-*'))
        self.release = packed.name.removeprefix('vmlinuz-')
        self.image = next((path for path in (
            folder / _SLIM, folder / _PLAIN) if path.exists()), packed)
        self._modules = {
            path.name.partition('.')[0].replace('-', '_'): path
            for path in folder.glob('**/kernel/**/*.ko*')}

    def modules(self, wanted: Iterable[str]) -> dict[str, bytes]:
        """Return the content of modules by name, dependencies first.

        A module without a file counts as built in. Dependencies are read
        from the modules themselves: a package that was never installed has
        no modules.dep.
        """
        found: dict[str, bytes] = {}
        for name in wanted:
            path = self._modules.get(name)
            if name in found or path is None:
                continue
            content = path.read_bytes()
            if path.suffix == '.xz':
                content = lzma.decompress(content)
            depends = re.search(rb'\0depends=([a-z0-9_,-]+)', content)
            if depends:
                found.update(self.modules(
                    depends[1].decode().replace('-', '_').split(',')))
            found[name] = content
        return found


def unpack(package: str, machine: str, state: pathlib.Path,
           used: pathlib.Path | None, progress: Callable[[str], None], *,
           newest: bool = False) -> Kernel:
    """Unpack a kernel package below ``state``, unless it is there.

    :param package: path of a .deb; with '', the kernel in use stays.
    :param used: the folder of the kernel in use, if there is one.
    :param newest: without a package, take the newest one that apt knows.
    :raises ToolMissing: dpkg-deb or apt-get is not installed.
    :raises KernelMissing: there is no package, or it cannot be unpacked.
    """
    if not package and used and not newest:
        return Kernel(used)
    name = '' if package else _newest(machine)
    identity = f'{_identity(package) if package else _file_name(name)} {_FORM}'
    if used and (used / _STAMP).read_text() == identity:
        return Kernel(used)
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder = state / f'{PREFIX}{key}'
    if folder.exists():
        return Kernel(folder)
    with tempfile.TemporaryDirectory(dir=state) as scratch:
        if package:
            deb = pathlib.Path(package)
        else:
            progress('downloading the guest kernel')
            deb = _download(name, pathlib.Path(scratch))
        progress(f'unpacking {deb.name}')
        new = pathlib.Path(scratch) / 'kernel'
        _extract(deb, new)
        _unpack_image(new)
        (new / _STAMP).write_text(identity)
        new.rename(folder)
    return Kernel(folder)


def _unpack_image(folder: pathlib.Path) -> None:
    packed = next(folder.glob('boot/vmlinuz-*'))
    try:
        plain = bzimage.unpack(packed.read_bytes())
    except bzimage.NotUnpacked:
        return  # QEMU then boots the compressed image
    try:
        (folder / _SLIM).write_bytes(vmlinux.slim(plain))
    except vmlinux.NotSlimmed:
        (folder / _PLAIN).write_bytes(plain)  # VMs then need more memory


def _identity(package: str) -> str:
    try:
        status = pathlib.Path(package).stat()
    except OSError as e:
        raise errors.KernelMissing(why=str(e)) from e
    return f'{package} {status.st_size} {status.st_mtime_ns}'


def _newest(machine: str) -> str:
    """Return the name of the package of the distribution's kernel."""
    meta = _META[machine]
    shown = _run(['apt-cache', 'depends', '--important', meta])
    name = re.search(r'Depends: (linux-image-\S+)', shown)
    if name is None:
        raise errors.KernelMissing(
            why=f'apt has no package {meta}')
    return name[1]


def _file_name(package: str) -> str:
    """Return the name of the package's file, which has its version."""
    shown = _run(['apt-get', 'download', '--print-uris', '-q', package])
    name = re.search(r"^'[^']+' (\S+)", shown, re.MULTILINE)
    if name is None:
        raise errors.KernelMissing(
            why=f'apt does not tell where {package} is')
    return name[1]


def _download(package: str, scratch: pathlib.Path) -> pathlib.Path:
    _run(['apt-get', 'download', '-q', package], scratch)
    return next(scratch.glob('*.deb'))


def _run(argv: list[str], folder: pathlib.Path | None = None) -> str:
    try:
        return subprocess.run(argv, cwd=folder, check=True, text=True,
                              capture_output=True).stdout
    except FileNotFoundError as e:
        raise errors.ToolMissing(tool=argv[0], package='apt') from e
    except subprocess.CalledProcessError as e:
        raise errors.KernelMissing(
            why=f'{" ".join(argv)}: {e.stderr.strip()[-300:]}') from e


def _extract(deb: pathlib.Path, folder: pathlib.Path) -> None:
    """Extract only the image and modules, out of some thousand files."""
    try:
        reader = subprocess.Popen(
            ['dpkg-deb', '--fsys-tarfile', str(deb)],
            stdout=subprocess.PIPE)
    except FileNotFoundError as e:
        raise errors.ToolMissing(tool='dpkg-deb', package='dpkg') from e
    assert reader.stdout
    with reader, tarfile.open(fileobj=reader.stdout, mode='r|') as archive:
        # Python before 3.11.4, such as Debian 12's, has no filters
        archive.extraction_filter = getattr(
            tarfile, 'data_filter', lambda member, _: member)
        for member in archive:
            if re.search(r'/boot/vmlinuz-|/kernel/(drivers/(virtio|char|net|'
                         r'block)|fs/fuse|net/core)/[^/]+\.ko', member.name):
                archive.extract(member, folder)
    if reader.returncode:
        raise errors.KernelMissing(why=f'dpkg-deb cannot unpack {deb}')
