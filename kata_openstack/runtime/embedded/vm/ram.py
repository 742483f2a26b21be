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

"""The RAM files of VMs, on a tmpfs."""

from collections.abc import Iterator
import os

from kata_openstack.runtime.embedded.common import syscalls

_PAGE = 4096
_CHUNK = 16 * 1024 * 1024


def create(path: str, size: int, uid: int) -> int:
    """Create a sparse file for ``uid``; return its fd.

    :param size: in bytes.
    :raises OSError: also if the file exists.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
                 0o600)
    os.ftruncate(fd, size)
    os.fchown(fd, uid, uid)
    return fd


def copy(source: int, target: int) -> None:
    """Copy a file's data but not its holes.

    :param source, target: fds of files of the same size.
    """
    for start, end in _data(source):
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            start += os.sendfile(target, source, start,
                                 min(_CHUNK, end - start))


def _data(fd: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each part that is no hole."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # ENXIO: only holes are left
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def drop_zeros(path: str) -> None:
    """Make holes of the pages that have only zeros.

    A hole reads as zeros too, but costs neither memory nor time to copy.
    """
    zeros = bytes(_PAGE)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for start, end in _data(fd):
            for offset in range(start, end, _PAGE):
                if os.pread(fd, _PAGE, offset) == zeros:
                    syscalls.punch_hole(fd, offset, _PAGE)
    finally:
        os.close(fd)
