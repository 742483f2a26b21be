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

"""Keeps a container's files when its CRI container is replaced.

CRI cannot start a container a second time; Docker, and so Zun, can. So the
new container takes over the folders of the old one, while neither is mounted:
the upper folder of the overlay, and the folders of the image's volumes. Each
is a rename in one file system, so the size of the files does not matter.

kata-compute may die at any step. So, before the first step, a mark beside
the new container's folder records which folder has the files: by its inode,
which a rename does not change.
"""

import os

from kata_openstack.compute.pods import volumes
from kata_openstack import exception
from kata_openstack.runtime.containerd import native


class Handover:
    """The folders of a container and of the one that replaces it.

    Neither may run meanwhile. A call that was interrupted at any point is
    completed by the next call, of this process or of another.
    """

    def __init__(self, client: native.NativeClient, old: str,
                 new: str) -> None:
        """:raises Unsupported: if the new container lacks such a folder"""
        former = volumes.folders(client, old)
        fresh = volumes.folders(client, new)
        if former.keys() != fresh.keys():
            # both have the same image
            raise exception.Unsupported(
                operation='starting a container again after '
                'ignore_image_defined_volumes was changed in the '
                'configuration of containerd',
                remedy='Undo the change, or delete the container with its '
                       'files and create it again.')
        self._layer = _Swap(layer(client, old), layer(client, new))
        self._volumes = [_Swap(former[path], fresh[path]) for path in former]

    def give(self) -> None:
        """Move the files from the old container to the new one.

        The layer is the last: if it was moved, all are. A former release
        moved only the layer. Its new container may have run since, so what
        is in its volumes must stay.
        """
        if not self._layer.given():
            for volume in self._volumes:
                volume.give()
        self._layer.give()

    def take_back(self) -> None:
        """Move the files back to the old container."""
        self._layer.take_back()
        for volume in self._volumes:
            volume.take_back()

    def forget(self) -> None:
        """Remove the marks, once no call needs the place of the files."""
        for swap in (self._layer, *self._volumes):
            swap.forget()


class _Swap:
    """Two folders in one file system that change places."""

    def __init__(self, old: str, new: str) -> None:
        self._old = old
        self._new = new
        # beside the new one, with which containerd removes them
        self._mark = f'{new}.kata-files'
        self._aside = f'{new}.kata-swap'

    def given(self) -> bool:
        """Whether the old one's files were moved, to the new one at first."""
        files = self._marked()
        return files is not None and _inode(self._old) != files

    def give(self) -> None:
        files = self._marked()
        if files is None:
            files = os.stat(self._old).st_ino
            # atomic: unlike a file, a symlink never exists without content
            os.symlink(str(files), self._mark)
        self._move(files, self._old, self._new)

    def take_back(self) -> None:
        files = self._marked()
        if files is not None:
            self._move(files, self._new, self._old)
            self.forget()

    def forget(self) -> None:
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


def layer(client: native.NativeClient, container_id: str) -> str:
    """Return the upper folder of a container's root file system."""
    for mount in client.mounts(container_id):
        if mount.type == 'bind' and mount.source:
            return mount.source
        for option in mount.options:
            if mount.type == 'overlay' and option.startswith('upperdir='):
                return option.removeprefix('upperdir=')
    raise exception.Unsupported(
        operation='stopped containers or --disk with this snapshotter',
        remedy='Use the overlayfs snapshotter for the handler, or delete the '
               'container and create it again.')
