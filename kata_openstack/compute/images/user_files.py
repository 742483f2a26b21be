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

"""An image's files that containerd opens on the host.

containerd looks up the user of a container in /etc/passwd and /etc/group of
the image when it creates the container, and waits without limit until a file
can be opened. As a FIFO, which nobody writes to, each would block a thread of
containerd for ever, and containerd ends when it has too many of them.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import functools
import os
import stat

from kata_openstack import exception
from kata_openstack.runtime.containerd.image_archive import archive_importer
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import types_pb2

_FILES = ('/etc/passwd', '/etc/group')
_MOST_LINKS = 40  # as in Linux
_MOST_KNOWN = 10000
_WHITEOUT = 0  # number of the device by which a layer deletes a lower file
_OPAQUE = 'trusted.overlay.opaque'


class UserFiles:
    """Checks each image once."""

    def __init__(self, native_: native.NativeClient) -> None:
        self._native = native_
        self._good: set[str] = set()

    def check(self, image: str, diff_ids: Sequence[str]) -> None:
        """Refuse an image in which such a file could block containerd.

        :param image: the name for the error.
        :param diff_ids: the digests of its unpacked layers, lowest first.
        :raises InvalidInput:
        """
        if not diff_ids:
            return
        chain = chain_id(diff_ids)
        if chain in self._good:
            return
        try:
            with self._native.view(chain) as mounts:
                _check(image, _layers(mounts))
        except exception.NotFound:
            return  # not unpacked on this host: a guest has its files
        if len(self._good) >= _MOST_KNOWN:
            self._good.clear()
        self._good.add(chain)


def _check(image: str, layers: Sequence[str]) -> None:
    for path in _FILES:
        mode = mode_of(layers, path)
        if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise exception.InvalidInput(
                field=f'file of image {image}', value=path,
                why='it is a FIFO, a socket or a device',
                remedy='Build the image with an ordinary file there.')


def chain_id(diff_ids: Sequence[str]) -> str:
    """Return the ID of layers on each other, as OCI's image-spec defines."""
    return functools.reduce(archive_importer.chain_id, diff_ids, '')


def _layers(mounts: Iterable[types_pb2.Mount]) -> list[str]:
    """Return the folders of the layers, the highest first.

    Other snapshotters than overlayfs and native have none.
    """
    for mount in mounts:
        if mount.type == 'bind':
            return [mount.source]
        for option in mount.options:
            name, _, value = option.partition('=')
            if name == 'lowerdir':
                return value.split(':')
    return []


def mode_of(layers: Sequence[str], path: str) -> int:
    """Return the mode of a file in layers, 0 if there is none.

    Symbolic links are followed within the layers, never on the host.

    :param layers: folders of an overlay, the highest first.
    :param path: absolute, in the layers.
    """
    parts = path.split('/')[::-1]
    where = [list(layers)]  # the folders of each level, from / on
    links = 0
    while parts:
        part = parts.pop()
        if part in ('', '.'):
            continue
        if part == '..':
            where = where[:-1] or where
            continue
        mode, found = _look(where[-1], part)
        if stat.S_ISDIR(mode):
            where.append(found)
        elif not stat.S_ISLNK(mode):
            return 0 if any(parts) else mode
        elif links == _MOST_LINKS:
            return 0
        else:
            links += 1
            target = os.readlink(found[0])
            if target.startswith('/'):
                where = where[:1]
            parts += target.split('/')[::-1]
    return stat.S_IFDIR


def _look(folders: Iterable[str], name: str) -> tuple[int, list[str]]:
    """Return the mode of an entry and its paths, the highest first.

    Only folders of several layers are merged.
    """
    found: list[str] = []
    for folder in folders:
        path = f'{folder}/{name}'
        try:
            status = os.lstat(path)
        except OSError:  # also a name that is too long
            continue
        if stat.S_ISDIR(status.st_mode):
            found.append(path)
            if _is_opaque(path):
                break
        elif found:
            break
        elif stat.S_ISCHR(status.st_mode) and status.st_rdev == _WHITEOUT:
            return 0, []
        else:
            return status.st_mode, [path]
    return (stat.S_IFDIR, found) if found else (0, [])


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE) == b'y'
    except OSError:
        return False
