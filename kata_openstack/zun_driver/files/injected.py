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

"""Files that a user gives with --mount type=bind.

Zun's own drivers bind a file of the host into the container, which could then
fill the host's disk. Here the file goes into the container's own files before
the first start, so it counts for the container's disk.
"""

import base64
import binascii
from collections.abc import Iterable
import io
import posixpath
import tarfile
from typing import Any

from kata_openstack import exception

PROVIDER = 'local'


def archive(volumes: Iterable[Any]) -> bytes:
    """Return a tar archive of the files, for the root of the container.

    :param volumes: Zun's volume mappings; others than of files are left out.
    :returns: b'' for no files
    :raises InvalidInput: for a content that is no base64, or a path that is
        not absolute or names no file.
    """
    files = [v for v in volumes if v.volume_provider == PROVIDER]
    if not files:
        return b''
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode='w') as target:
        for volume in files:
            path, data = _path(volume), _data(volume)
            entry = tarfile.TarInfo(path.lstrip('/'))
            entry.size, entry.mode = len(data), 0o644
            target.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _path(volume: Any) -> str:
    path = volume.container_path or ''
    clean = posixpath.normpath(path)
    if (not path.startswith('/') or path.endswith('/')
            or not clean.strip('/') or '..' in path.split('/')):
        raise exception.InvalidInput(
            field='destination of a mount', value=path[:64],
            why='it is not the full path of a file',
            remedy='Use a path such as /etc/my.conf.')
    return clean


def _data(volume: Any) -> bytes:
    try:
        return base64.b64decode(volume.contents or '', validate=True)
    except (binascii.Error, ValueError) as e:
        raise exception.InvalidInput(
            field='content of a mount', value='(not shown)',
            why=f'it is no base64: {e}',
            remedy='Use openstack appcontainer, which encodes the file.'
        ) from e
