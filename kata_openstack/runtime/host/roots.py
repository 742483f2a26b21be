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

"""The folders that the checks read; tests pass those of a recorded host."""

from collections.abc import Callable
import dataclasses
import errno
import os
import pathlib
import shutil
from typing import Self

from oslo_config import cfg

# Errors that mean "it does not exist". Any other error is reported.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO)
# Bytes per read; files below /proc/sys refuse larger reads.
_PART = 64 << 10


def _open(path: pathlib.Path) -> int:
    # O_NONBLOCK: never wait for the driver of a device
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roots:
    """The folders and programs that the checks read.

    ``path`` is searched for programs, in the form of the environment
    variable PATH, before folders below ``usr``. ``qemu`` and ``virtiofsd``
    are the paths that the operator configured; if unset, the programs are
    searched for. ``statvfs`` returns the size of a file system.
    ``unreadable`` collects one line for each file that exists but cannot be
    read.
    """

    proc: pathlib.Path = pathlib.Path('/proc')
    sys: pathlib.Path = pathlib.Path('/sys')
    dev: pathlib.Path = pathlib.Path('/dev')
    run: pathlib.Path = pathlib.Path('/run')
    etc: pathlib.Path = pathlib.Path('/etc')
    usr: pathlib.Path = pathlib.Path('/usr')
    kata: pathlib.Path = pathlib.Path('/opt/kata')
    qemu: pathlib.Path | None = None
    virtiofsd: pathlib.Path | None = None
    path: str = os.environ.get('PATH', os.defpath)
    statvfs: Callable[[pathlib.Path], os.statvfs_result] = os.statvfs
    unreadable: list[str] = dataclasses.field(
        default_factory=list, compare=False, repr=False)

    @classmethod
    def configured(cls, conf: cfg.ConfigOpts) -> Self:
        """Return the roots of this host, with the paths that are options."""
        def optional(path: str) -> pathlib.Path | None:
            return pathlib.Path(path) if path else None
        return cls(kata=pathlib.Path(conf.kata.kata_root),
                   qemu=optional(conf.embedded.qemu_path),
                   virtiofsd=optional(conf.embedded.virtiofsd_path))

    def program(self, *names: str) -> pathlib.Path | None:
        """Return the path of the first program that is installed."""
        for name in names:
            found = shutil.which(name, path=self.path)
            if found:
                return pathlib.Path(found).absolute()
        return None

    def read(self, path: pathlib.Path) -> str:
        """Return the text of a /proc or /sys file; '' if it cannot be read."""
        content = b''
        try:
            fd = _open(path)
            try:
                while part := os.read(fd, _PART):
                    content += part
            finally:
                os.close(fd)
        except OSError as e:
            if e.errno not in _ABSENT:
                self.note(path, e)
            return ''
        return content.decode(errors='replace')

    def word(self, path: pathlib.Path) -> str:
        """Return the value of a /sys file, without newlines and NULs."""
        return self.read(path).strip('\0\n ')

    def read_at(self, path: pathlib.Path, offset: int, size: int) -> bytes:
        """Return bytes of a CPU device (cpuid, msr); none on an error.

        An error is not reported: reading a register that the CPU does not
        have fails as well.
        """
        try:
            fd = _open(path)
            try:
                return os.pread(fd, size, offset)
            finally:
                os.close(fd)
        except OSError:
            return b''

    def names(self, folder: pathlib.Path) -> list[str]:
        """Return the sorted names in a folder; none if it cannot be read."""
        try:
            return sorted(os.listdir(folder))
        except OSError as e:
            if e.errno not in _ABSENT:
                self.note(folder, e)
            return []

    def note(self, path: pathlib.Path, error: OSError) -> None:
        words = (error.strerror or str(error)).lower()
        line = f'{path} cannot be read: {words}'
        if line not in self.unreadable:
            self.unreadable.append(line)
