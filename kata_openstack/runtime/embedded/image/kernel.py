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
package file. Without that option, a kernel that is already unpacked stays
in use; if there is none, apt downloads the newest package.
"""

from collections.abc import Callable
from collections.abc import Iterable
import lzma
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

from kata_openstack.runtime.embedded.image import bzimage
from kata_openstack.runtime.embedded.image import errors

_META = {'x86_64': 'linux-image-cloud-amd64',
         'aarch64': 'linux-image-cloud-arm64'}


class Kernel:
    """An unpacked kernel package."""

    def __init__(self, folder: pathlib.Path) -> None:
        """:param folder: holds boot/vmlinuz-* and lib/modules/*."""
        packed = next(folder.glob('boot/vmlinuz-*'))
        self.release = packed.name.removeprefix('vmlinuz-')
        plain = folder / 'vmlinux'
        self.image = plain if plain.exists() else packed
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


def unpack(package: str, machine: str, folder: pathlib.Path,
           progress: Callable[[str], None]) -> Kernel:
    """Unpack a kernel package into ``folder``, unless it is there.

    :param package: path of a .deb; with '', apt chooses one if ``folder``
        has none.
    :raises ToolMissing: dpkg-deb or apt-get is not installed.
    :raises KernelMissing: there is no package, or it cannot be unpacked.
    """
    stamp = folder / 'package'
    wanted = _identity(package) if package else ''
    if stamp.exists() and (not wanted or stamp.read_text() == wanted):
        return Kernel(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        if package:
            deb = pathlib.Path(package)
        else:
            progress('downloading the guest kernel')
            deb = _download(machine, pathlib.Path(scratch))
        progress(f'unpacking {deb.name}')
        new = pathlib.Path(scratch) / 'kernel'
        _extract(deb, new)
        _unpack_image(new)
        (new / 'package').write_text(wanted or deb.name)
        shutil.rmtree(folder)
        new.rename(folder)
    return Kernel(folder)


def _unpack_image(folder: pathlib.Path) -> None:
    packed = next(folder.glob('boot/vmlinuz-*'))
    try:
        (folder / 'vmlinux').write_bytes(bzimage.unpack(packed.read_bytes()))
    except bzimage.NotUnpacked:
        pass  # QEMU then boots the compressed image


def _identity(package: str) -> str:
    try:
        status = pathlib.Path(package).stat()
    except OSError as e:
        raise errors.KernelMissing(why=str(e)) from e
    return f'{package} {status.st_size} {status.st_mtime_ns}'


def _download(machine: str, scratch: pathlib.Path) -> pathlib.Path:
    meta = _META[machine]
    shown = _run(['apt-cache', 'depends', '--important', meta], scratch)
    name = re.search(r'Depends: (linux-image-\S+)', shown)
    if name is None:
        raise errors.KernelMissing(
            why=f'apt has no package {meta}')
    _run(['apt-get', 'download', '-q', name[1]], scratch)
    return next(scratch.glob('*.deb'))


def _run(argv: list[str], folder: pathlib.Path) -> str:
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
