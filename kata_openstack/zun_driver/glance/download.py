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

"""Downloads images from Glance into the folder that kata-compute reads.

A file has its last name only when it is whole, and goes after its use.
"""

from collections.abc import Iterator
import contextlib
import functools
import hashlib
import os
import pathlib
import shutil
import threading
import time
from typing import Any
import uuid

from oslo_log import log as logging
from oslo_utils import fileutils
from oslo_utils import units
import zun.conf
from zun.image.glance import utils

from kata_openstack import exception
from kata_openstack.zun_driver.glance import catalog

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)

# Files at the same time, so that they do not fill the disk
_MOST = 4
_places = threading.BoundedSemaphore(_MOST)
_once = threading.Lock()  # a cache alone lets several calls begin
_RESERVE = units.Gi  # bytes that stay free
_LOOK = 16 * units.Mi  # bytes between two looks at the free space
_WHAT = 'Downloading an image'
_UPLOAD = 'Upload the image again.'


@contextlib.contextmanager
def downloaded(context: Any, image: Any) -> Iterator[str]:
    """Download an image, and remove the file at the end.

    :returns: the name of the file in [glance] images_directory
    :raises GlanceFailed: the download broke, or is not what Glance has
        recorded
    :raises NotEnoughDisk:
    """
    folder = pathlib.Path(CONF.glance.images_directory)
    with _places:
        fileutils.ensure_tree(str(folder), 0o700)
        with _once:
            _remove_old(folder)
        part = folder / f'{image.id}-{_mark()}-{uuid.uuid4().hex}.part'
        whole = part.with_suffix('.tar')
        try:
            _fetch(context, image, part)
            part.rename(whole)
            yield whole.name
        finally:
            for path in (part, whole):
                path.unlink(missing_ok=True)


def _fetch(context: Any, image: Any, path: pathlib.Path) -> None:
    size = image.size or 0
    _check_space(path.parent, size)
    hasher, wanted = _checksum(image)
    done = looked = 0
    chunks = _chunks(context, image)
    with open(path, 'xb', opener=_private) as file:
        for data in chunks:
            done += len(data)
            if size and done > size:
                break
            if done - looked >= _LOOK:
                _check_space(path.parent)
                looked = done
            hasher.update(data)
            _write(file, data)
            time.sleep(0)  # other green threads work
    if (size and done != size) or not done:
        raise exception.GlanceFailed(
            image=image.id, why=f'it has {size} bytes, but {done} or more '
            'came' if done > size else f'{done} of {size} bytes came',
            remedy='Try again. If it fails again, upload the image again.')
    if wanted and hasher.hexdigest() != wanted:
        raise exception.GlanceFailed(
            image=image.id, why='its data does not have the checksum that '
            'Glance has recorded', remedy=_UPLOAD)


def _chunks(context: Any, image: Any) -> Iterator[bytes]:
    """:raises GlanceFailed: also in the middle of the download"""
    try:
        yield from utils.download_image_in_chunks(context, image.id)
    except Exception as e:
        raise catalog.failed(image.id, e) from e


def _checksum(image: Any) -> tuple[Any, str | None]:
    """Return a hasher, and the digest that it must have at the end."""
    value = getattr(image, 'os_hash_value', None)
    algorithm = str(getattr(image, 'os_hash_algo', None))
    if value and algorithm in hashlib.algorithms_guaranteed:
        return hashlib.new(algorithm), value
    return (hashlib.new('md5', usedforsecurity=False),
            getattr(image, 'checksum', None))


def _write(file: Any, data: bytes) -> None:
    try:
        file.write(data)
    except OSError as e:
        LOG.warning('Could not write %s: %s', file.name, e.strerror)
        raise _full(pathlib.Path(file.name).parent, len(data)) from e


def _check_space(folder: pathlib.Path, size: int = 0) -> None:
    if shutil.disk_usage(folder).free < size + _RESERVE:
        raise _full(folder, size)


def _full(folder: pathlib.Path, size: int) -> exception.NotEnoughDisk:
    return exception.NotEnoughDisk(
        what=_WHAT, asked_mib=(size + _RESERVE) // units.Mi,
        reserve_mib=_RESERVE // units.Mi,
        free_mib=shutil.disk_usage(folder).free // units.Mi)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@functools.cache
def _mark() -> str:
    """Return what tells the files of this host: others may share the folder.
    """
    return hashlib.sha256(CONF.host.encode()).hexdigest()[:12]


@functools.cache
def _remove_old(folder: pathlib.Path) -> None:
    """Remove once what a process left that was killed."""
    for path in folder.glob(f'*-{_mark()}-*'):
        path.unlink(missing_ok=True)
