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

"""Disks of a limited size for the files that a container writes.

A disk is a file on the file system of containerd, with all its space
allocated, so that it never promises the same space twice. It holds an ext4
file system, which the host makes and mounts; the guest sees only folders of
it, through virtiofs. They are the upper folder of the root file system and the
volumes of the image: containerd's own folders are replaced by links to them.
containerd removes the links with its containers, and never the files behind.

``<root of containerd>/kata-openstack-disks/<pod>/<container>/`` has the file
and its mount point. kata-compute mounts it before each start, because a
mount does not survive a reboot, and removes it with the pod.
"""

from collections.abc import Callable
import contextlib
import errno
import hashlib
import os
import pathlib
import shutil
import subprocess
import threading
from typing import Any

from oslo_log import log as logging
from oslo_utils import units
from oslo_utils import uuidutils

from kata_openstack.compute.pods import handover
from kata_openstack.compute.pods import leftovers
from kata_openstack.compute.pods import volumes
from kata_openstack.compute import space
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.embedded.common import syscalls

LOG = logging.getLogger(__name__)
_FOLDER = 'kata-openstack-disks'
# The new file reads as zeros, so the table of inodes needs no others: mkfs and
# the kernel would write some 16 MiB for each GiB
_MKFS = ('mkfs.ext4', '-q', '-F', '-m', '0',
         '-E', 'nodiscard,lazy_itable_init=1,lazy_journal_init=1')
_MOUNT = ('mount', '-t', 'ext4', '-o', 'loop,nosuid,nodev,noexec,noatime,'
          'noinit_itable,errors=remount-ro')
_PROBE = 'probe'  # not the UUID of a pod
_PROBE_MIB = 4
_TIMEOUT = 120  # seconds


class Disks:
    """The disks of this node's containers. Thread-safe for different pods."""

    def __init__(self, native_: native.NativeClient, space_: space.Space
                 ) -> None:
        self._native = native_
        self._space = space_
        self._proven = False
        self._said = ''
        self._probing = threading.Lock()
        self._allocating = threading.Lock()

    def root(self) -> pathlib.Path:
        """Return the folder of all disks.

        :raises KataError: containerd does not tell its root folder.
        """
        return self._space.root() / _FOLDER

    def obstacle(self) -> str:
        """Return why this node cannot limit disks; '' if it can.

        It makes and mounts a small disk. A success is remembered.
        """
        if self._proven:
            return ''
        with self._probing:
            try:
                self.remove(_PROBE)  # of a process that was killed
                folder = self.root() / _PROBE / _PROBE
                try:
                    _allocate(folder, _PROBE_MIB * units.Mi)
                    _format(folder)
                    _mount(folder)
                finally:
                    self.remove(_PROBE)
            except (exception.KataError, OSError) as e:
                return str(e)
        self._proven = True
        return ''

    def check(self, pod: objects.Pod) -> None:
        """Refuse a pod for which :meth:`make` would fail.

        :raises NotEnoughDisk: the node has not so much free space.
        :raises Unsupported: the node cannot limit disks.
        """
        asked = sum(c.disk_gib or 0 for c in pod.containers)
        why = self.obstacle() if asked else ''
        if why:
            raise exception.Unsupported(
                operation=f'--disk on this node, because it cannot make a '
                          f'disk of a limited size: {why.rstrip(". ")}',
                remedy='Ask the operator to provide mkfs.ext4, loop devices '
                       'and a file system that can allocate files, or to set '
                       '[DEFAULT] default_disk of Zun to 0, and create the '
                       'container without --disk.')
        self._space.check(f'Pod {pod.uuid}', asked * units.Gi)

    def make(self, pod: objects.Pod) -> None:
        """Make and mount the disks of the containers that have a limit.

        :raises NotEnoughDisk, RuntimeFailed: some may exist then.
        """
        for container in pod.containers:
            size = (container.disk_gib or 0) * units.Gi
            if size:
                folder = self.root() / pod.uuid / container.uuid
                try:
                    with self._allocating:
                        # not all pods that were checked may fit
                        self._space.check(f'Pod {pod.uuid}', size)
                        _allocate(folder, size)
                    _format(folder)
                    _mount(folder)
                except OSError as e:
                    if e.errno not in (errno.ENOSPC, errno.EFBIG,
                                       errno.EDQUOT):
                        raise exception.RuntimeFailed(
                            operation='Making a disk', why=e) from e
                    # others took the space after the check
                    raise self._space.error(f'Pod {pod.uuid}', size,
                                            self._space.free()) from e

    def attach(self, pod_uuid: str, container_uuid: str, container_id: str
               ) -> None:
        """Let a CRI container that does not run write to its disk.

        Idempotent; a call that was interrupted is completed by the next.

        :raises RuntimeFailed, Unsupported:
        """
        folder = self.root() / pod_uuid / container_uuid
        try:
            _mount(folder)
            self._link(_mount_point(folder), container_id)
        except OSError as e:
            if e.errno == errno.ENOSPC:
                raise exception.InvalidInput(
                    field='disk of container', value=container_uuid,
                    why="it cannot hold the files in the image's volumes",
                    remedy='Request a larger --disk.') from e
            raise exception.RuntimeFailed(
                operation=f'Attaching the disk of container {container_uuid}',
                why=e) from e

    def mount(self, pod_uuid: str, container_uuid: str) -> None:
        """Mount a disk, unless it is mounted.

        :raises RuntimeFailed:
        """
        try:
            _mount(self.root() / pod_uuid / container_uuid)
        except OSError as e:
            raise exception.RuntimeFailed(
                operation=f'Mounting the disk of container {container_uuid}',
                why=e) from e

    def _link(self, disk: pathlib.Path, container_id: str) -> None:
        upper = pathlib.Path(handover.layer(self._native, container_id))
        _take_over(upper, disk / 'fs', content=False)
        # the overlay's working folder must be on the same file system
        _take_over(upper.parent / 'work', disk / 'work', content=False)
        for path, source in volumes.folders(self._native,
                                            container_id).items():
            name = hashlib.sha256(path.encode()).hexdigest()[:32]
            _take_over(pathlib.Path(source), disk / f'volume-{name}',
                       content=True)

    def remove(self, pod_uuid: str) -> None:
        """Remove the disks of a pod, which containerd no longer has.

        A virtual machine that could not be stopped keeps its mount, and so
        the space, until it ends.

        :raises OSError:
        """
        pod = self.root() / pod_uuid
        if not pod.exists():
            return
        for folder in pod.iterdir():
            point = _mount_point(folder)
            while os.path.ismount(point):
                syscalls.umount(str(point), syscalls.MNT_DETACH)
            # also detaches copies of the mount in other mount namespaces
            with contextlib.suppress(FileNotFoundError):
                point.rmdir()
        shutil.rmtree(pod)

    def info(self) -> dict[str, Any]:
        """Return what the scheduler must know. Sizes are in GiB.

        ``disk_held_back``: no container can have it, because others have it,
        or because it stays free.
        """
        why = self.obstacle()
        if why != self._said:
            self._said = why
            if why:
                LOG.warning('The node cannot limit the disks of containers, '
                            'so --disk is refused: %s', why)
        total = self._space.total()
        held_back = (total - self._space.free() - self._allocated()
                     + self._space.reserve)
        return {'disk_quota_supported': not why,
                'disk_total': total // units.Gi,
                'disk_held_back': -(-held_back // units.Gi)}

    def _allocated(self) -> int:
        """Return the bytes of all disks."""
        allocated = 0
        for path in self.root().glob('*/*/image'):
            with contextlib.suppress(FileNotFoundError):
                allocated += path.stat().st_blocks * 512
        return allocated

    def sweep(self, lock: Callable[
            [str], contextlib.AbstractContextManager[Any]]) -> None:
        """Remove the disks of pods that containerd no longer has.

        :param lock: see :func:`leftovers.sweep`.
        :raises KataError: if containerd does not answer.
        """
        if not self.root().exists():
            return
        found = {path.name for path in self.root().iterdir()
                 if uuidutils.is_uuid_like(path.name)}
        leftovers.sweep(self._native, found, lock, self.remove, 'disks')


def _image(folder: pathlib.Path) -> pathlib.Path:
    return folder / 'image'


def _mount_point(folder: pathlib.Path) -> pathlib.Path:
    return folder / 'mount'


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _allocate(folder: pathlib.Path, size: int) -> None:
    """:raises OSError:"""
    folder.parent.parent.mkdir(mode=0o700, exist_ok=True)
    for path in (folder.parent, folder, _mount_point(folder)):
        path.mkdir(mode=0o700, exist_ok=True)
    with open(_image(folder), 'xb', opener=_private) as file:
        syscalls.allocate(file.fileno(), 0, size)


def _format(folder: pathlib.Path) -> None:
    """:raises OSError:"""
    _run(*_MKFS, str(_image(folder)))


def _mount(folder: pathlib.Path) -> None:
    """:raises OSError:"""
    if not os.path.ismount(_mount_point(folder)):
        _run(*_MOUNT, str(_image(folder)), str(_mount_point(folder)))


def _run(*command: str) -> None:
    """:raises OSError: also if the program fails"""
    path = f'{os.environ.get("PATH", os.defpath)}:/usr/sbin:/sbin'
    try:
        done = subprocess.run(
            command, env={'PATH': path, 'LC_ALL': 'C'}, capture_output=True,
            text=True, errors='replace', timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as e:
        raise OSError(errno.ETIMEDOUT,
                      f'{command[0]} did not end in {_TIMEOUT} s') from e
    if done.returncode:
        text = ' '.join(done.stderr.split())[:500]
        no_space = 'No space left on device' in text
        raise OSError(errno.ENOSPC if no_space else errno.EIO,
                      f'{command[0]} failed: {text}')


def _take_over(path: pathlib.Path, target: pathlib.Path, *, content: bool
               ) -> None:
    """Replace a folder of containerd by a link to a folder of a disk.

    :param content: copy the folder's files when the target is made.
    """
    if path.is_symlink():
        return
    if not target.exists():
        fresh = target.with_name(f'{target.name}.new')
        shutil.rmtree(fresh, ignore_errors=True)
        if content:
            _run('cp', '-a', str(path), str(fresh))
        else:
            fresh.mkdir(mode=0o700)
            if path.exists():
                shutil.copystat(path, fresh)
                os.chown(fresh, path.stat().st_uid, path.stat().st_gid)
        fresh.rename(target)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
    path.symlink_to(target)
