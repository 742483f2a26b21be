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
neither is mounted. That is a rename in one file system, so the size of the
files does not matter.

kata-compute may die at any step. So, before the first step, a mark beside
the new container's folder records which folder has the files: by its inode,
which a rename does not change.
"""

import os

from kata_openstack import exception
from kata_openstack.runtime.containerd import native


class Handover:
    """The writable layers of a container and of the one that replaces it.

    Neither may run meanwhile. A call that was interrupted at any point is
    completed by the next call, of this process or of another.
    """

    def __init__(self, client: native.NativeClient, old: str,
                 new: str) -> None:
        """:raises Unsupported: if the snapshotter has no folder to rename"""
        self._old = _folder(client, old)
        self._new = _folder(client, new)
        # in the new one's snapshot, with which containerd removes them
        self._mark = f'{self._new}.kata-files'
        self._aside = f'{self._new}.kata-swap'

    def give(self) -> None:
        """Move the files from the old container to the new one."""
        files = self._marked()
        if files is None:
            files = os.stat(self._old).st_ino
            # atomic: unlike a file, a symlink never exists without content
            os.symlink(str(files), self._mark)
        self._move(files, self._old, self._new)

    def take_back(self) -> None:
        """Move the files back to the old container."""
        files = self._marked()
        if files is not None:
            self._move(files, self._new, self._old)
            self.forget()

    def forget(self) -> None:
        """Remove the mark, once no call needs the place of the files."""
        if os.path.lexists(self._mark):
            os.unlink(self._mark)

    def _marked(self) -> int | None:
        """Return the inode of the files; None if nothing was moved yet."""
        try:
            return int(os.readlink(self._mark))
        except FileNotFoundError:
            return None

    def _move(self, files: int, source: str, target: str) -> None:
        """Swap the two folders, unless the target has the files.

        Only the target, which does not have the files, is renamed to
        ``_aside``; the files go from source to target in one rename. While
        ``_aside`` exists, source or target is missing. So no rename replaces
        a folder, and a repeated call can finish an interrupted swap.
        """
        if _inode(target) != files:
            if _inode(source) != files:
                return  # a still newer container has the files
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
