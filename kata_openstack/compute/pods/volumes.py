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

"""Volumes that an image declares (VOLUME in a Dockerfile).

containerd makes them for each CRI container, with a copy of the image's files
at their paths: ``<its root>/containers/<id>/volumes/<random name>``. It
removes them with the CRI container.
"""

from collections.abc import Collection
import pathlib
import posixpath

from kata_openstack import exception
from kata_openstack.runtime.containerd import native

# containerd copies the image's files to each of them, on this node's disk:
# an image could name its own root folder a thousand times.
_MOST = 64
_LONGEST = 4095  # bytes; a path of the kernel
_NEEDED = ('/', '/dev', '/proc')  # no container works without what is there


def normalise(path: str) -> str:
    """Return a path in a container as containerd understands it.

    ``data``, ``/data/`` and ``../data`` become ``/data``.
    """
    return posixpath.normpath('/' + path.lstrip('/'))


def check(image: str, paths: Collection[str]) -> None:
    """Refuse volumes that would harm the node or cannot work.

    :param paths: as the image declares them.
    :raises InvalidInput:
    """
    why = ''
    for path in paths:
        if normalise(path) in _NEEDED:
            why = 'it would hide what every container needs'
        elif len(path.encode(errors='replace')) > _LONGEST:
            why = f'it is longer than {_LONGEST} bytes'
        if why:
            raise exception.InvalidInput(
                field=f'VOLUME of image {image}', value=path[:64], why=why,
                remedy='Build the image without this volume.')
    if len(paths) > _MOST:
        raise exception.InvalidInput(
            field=f'VOLUME of image {image}', value=f'{len(paths)} volumes',
            why=f'more than {_MOST}',
            remedy='Build the image with fewer volumes.')


def folders(client: native.NativeClient, container_id: str
            ) -> dict[str, str]:
    """Return the folders of a CRI container's volumes, by normalised path.

    CRI does not name them, but they are mounts in the OCI specification.
    """
    found = {}
    for mount in client.spec(container_id).get('mounts') or ():
        folder = pathlib.PurePosixPath(mount.get('source') or '')
        if folder.parts[-4:-1] == ('containers', container_id, 'volumes'):
            # of several mounts at one path, the container sees the last
            found[normalise(mount['destination'])] = str(folder)
    return found
