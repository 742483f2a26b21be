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

"""Keeps a container's writable layer when its CRI container is replaced.

CRI cannot start a container a second time; Docker, and so Zun, can. So the
new container takes over the upper folder of the old one's overlay, while
neither is mounted. That is a rename in one file system, whatever the size.

kata-compute may die at any step of it. So a mark beside the new container's
folder tells, from before the first step, which folder has the files: by its
inode, which no rename changes.
"""

import os

from kata_openstack import exception
from kata_openstack.runtime.containerd import native


class Handover:
    """The writable layers of a container and of the one that replaces it.

    Neither may run meanwhile. What was interrupted at any point is completed
    when it is called again, by this process or by another.
    """

    def __init__(self, client: native.NativeClient, old: str,
                 new: str) -> None:
        """:raises Unsupported: if the snapshotter has no folder to rename"""
        self._old = _folder(client, old)
        self._new = _folder(client, new)
        # in the new one's snapshot, with which they end
        self._mark = f'{self._new}.kata-files'
        self._aside = f'{self._new}.kata-swap'

    def give(self) -> None:
        """Let the new one have the files of the old one."""
        files = self._marked()
        if files is None:
            files = os.stat(self._old).st_ino
            # unlike a file, a symlink is never there without its content
            os.symlink(str(files), self._mark)
        self._move(files, self._old, self._new)

    def take_back(self) -> None:
        """Let the old one have its files again."""
        files = self._marked()
        if files is not None:
            self._move(files, self._new, self._old)
            self.forget()

    def forget(self) -> None:
        """Remove the mark, once nobody asks any more who has the files."""
        if os.path.lexists(self._mark):
            os.unlink(self._mark)

    def _marked(self) -> int | None:
        """The inode of the files; None if nothing was moved yet."""
        try:
            return int(os.readlink(self._mark))
        except FileNotFoundError:
            return None

    def _move(self, files: int, source: str, target: str) -> None:
        """Exchange them, unless the target has the files.

        Only what is no one's files is ever put aside, and then one of the
        two is missing.
        """
        if _inode(target) != files:
            if _inode(source) != files:
                return  # they were handed on, to a still newer one
            if os.path.exists(target):
                os.rename(target, self._aside)
            os.rename(source, target)
        if os.path.exists(self._aside):
            os.rename(self._aside, source)


def _inode(folder: str) -> int | None:
    try:
        return os.stat(folder).st_ino
    except FileNotFoundError:
        return None


def _folder(client: native.NativeClient, container_id: str) -> str:
    for mount in client.mounts(container_id):
        if mount.type == 'bind' and mount.source:
            return mount.source
        for option in mount.options:
            if mount.type == 'overlay' and option.startswith('upperdir='):
                return option.removeprefix('upperdir=')
    raise exception.Unsupported(
        operation='starting a stopped container again with this snapshotter',
        remedy='Use the overlayfs snapshotter for the handler, or delete the '
               'container and create it again.')
