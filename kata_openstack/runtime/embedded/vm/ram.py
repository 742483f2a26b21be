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

import os

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
    start = 0
    while True:
        try:
            start = os.lseek(source, start, os.SEEK_DATA)
        except OSError:  # ENXIO: only holes are left
            return
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            start += os.sendfile(target, source, start,
                                 min(_CHUNK, end - start))
