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
"""

import os

from kata_openstack import exception
from kata_openstack.runtime.containerd import native


def swap(client: native.NativeClient, one: str, other: str) -> None:
    """Exchange the writable layers of two containers that do not run.

    Doing it again undoes it.

    :raises Unsupported: if the snapshotter has no folder to rename
    """
    folders = [_folder(client, one), _folder(client, other)]
    aside = f'{folders[1]}.kata-swap'
    os.rename(folders[1], aside)
    try:
        os.rename(folders[0], folders[1])
    except OSError:
        os.rename(aside, folders[1])
        raise
    os.rename(aside, folders[0])


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
