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

"""A program for the files of a container that does not run.

kata-compute starts it. In a mount namespace of its own, it mounts the
container's files as its root, and gives up its privileges. Whatever ends it,
no mount is left.
"""

import errno
import json
import os
import resource
import signal
import sys
from typing import Any

from kata_openstack.runtime.archives import work
from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.vm import share

_GUARDS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_MEMORY = 1 << 30  # bytes of addresses; xz takes 64 MiB


class Volume:
    """A folder of the host at a path in the container."""

    def __init__(self, path: str, source: str, readonly: bool) -> None:
        self.path = path
        self.source = source
        self.readonly = readonly


def main() -> None:
    """The argument is a JSON object with the arguments of :func:`_enter`,
    ``order``, see :class:`work.Order`, ``mounts`` and ``hidden``, see
    :func:`work.run`, ``seconds`` of CPU time, and ``parent``, a PID.
    """
    raw = json.loads(sys.argv[1])
    order = work.Order(**raw['order'])
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != raw['parent']:
            return  # it has died already
        for limit, value in ((resource.RLIMIT_AS, _MEMORY),
                             (resource.RLIMIT_CPU, raw['seconds'])):
            resource.setrlimit(limit, (value, value))
        _enter(raw['root'], [Volume(*one) for one in raw['volumes']],
               raw['point'], order.put, raw['readonly'])
        work.confine()
    except OSError as e:
        work.tell({'failed': f'mounting the files: {e}'})
        return
    work.tell(work.run(order, list(map(os.fsencode, raw['mounts'])),
                       list(map(os.fsencode, raw['hidden']))))


def _enter(root: list[dict[str, Any]], volumes: list[Volume], point: str,
           put: bool, readonly: bool) -> None:
    """Make the container's files the root of this process.

    :param root: mounts of the root file system: type, source and options.
    :param point: an empty folder.
    :param readonly: nothing of the root file system may be changed.
    :raises OSError:
    """
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET
                     | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    syscalls.mount('', '/', flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    for item in root:
        flags, data = share.parse_options(item['options'])
        folder = '/'
        if not flags & syscalls.MS_BIND:
            folder, data = share.compact(data)
        os.chdir(folder)
        syscalls.mount(item['source'], point, item['type'],
                       flags | _GUARDS, ','.join(data))
    top = os.open(point, os.O_PATH | os.O_DIRECTORY)
    for volume in volumes:
        _bind(top, volume)
    os.close(top)
    # for reading, also what a start would have to make stays as it is
    syscalls.restrict_mounts(
        point, _GUARDS | (0 if put else syscalls.MS_RDONLY))
    if readonly:
        syscalls.mount('', point, flags=syscalls.MS_REMOUNT | syscalls.MS_BIND
                       | syscalls.MS_RDONLY | _GUARDS)
    os.chdir(point)
    syscalls.pivot_root('.', '.')
    syscalls.umount('.', syscalls.MNT_DETACH)
    os.chdir('/')


def _bind(top: int, volume: Volume) -> None:
    """Mount a volume where the container will have it.

    The path may lead through links of the image, which lead nowhere else than
    in the image.
    """
    target = _mount_point(top, volume.path)
    path = f'/proc/self/fd/{target}'
    syscalls.mount(volume.source, path, flags=syscalls.MS_BIND)
    os.close(target)
    if volume.readonly:
        target = syscalls.open_in_root(top, volume.path, os.O_PATH)
        syscalls.restrict_mounts(f'/proc/self/fd/{target}',
                                 syscalls.MS_RDONLY)
        os.close(target)


def _mount_point(top: int, path: str) -> int:
    """Open a folder; make it if the image lacks it, as crun does later."""
    try:
        return syscalls.open_in_root(top, path, os.O_PATH)
    except OSError as e:
        if e.errno != errno.ENOENT or path == '/':
            raise
    parent = _mount_point(top, os.path.dirname(path))
    try:
        os.mkdir(os.path.basename(path), 0o755, dir_fd=parent)
    finally:
        os.close(parent)
    return syscalls.open_in_root(top, path, os.O_PATH)


if __name__ == '__main__':
    main()
