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

"""Write a cpio archive in the "newc" format that an initramfs needs.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the
kernel. The same tree always gives the same bytes.
"""

import os
import stat
from typing import BinaryIO


class Archive:
    """An archive. Its entries belong to root and are dated 1970."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._inode = 0
        self._folders: set[str] = set()

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder and its parents, unless they were added before."""
        path = path.strip('/')
        if not path or path in self._folders:
            return
        self.folder(os.path.dirname(path))
        self._folders.add(path)
        self._entry(path, stat.S_IFDIR | mode, b'')

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self.folder(os.path.dirname(path))
        self._entry(path.strip('/'), stat.S_IFREG | mode, content)

    def link(self, path: str, target: str) -> None:
        self.folder(os.path.dirname(path))
        self._entry(path.strip('/'), stat.S_IFLNK | 0o777, target.encode())

    def end(self) -> None:
        self._entry('TRAILER!!!', 0, b'')

    def _entry(self, name: str, mode: int, content: bytes) -> None:
        self._inode += 1
        encoded = name.encode() + b'\0'
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0,
                  len(encoded), 0)
        head = b'070701' + b''.join(b'%08X' % field for field in fields)
        self._out.write(_padded(head + encoded))
        self._out.write(_padded(content))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
