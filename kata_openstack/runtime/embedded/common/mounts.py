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

"""Find and unmount file systems.

The table of mounts is long on a node with many pods, and the kernel writes it
anew for each reader. So only a clean-up, which knows no mount points, reads
it.
"""

import re

from kata_openstack.runtime.embedded.common import syscalls


def below(*folders: str) -> list[str]:
    """Return the mount points at or below folders, innermost first."""
    found = []
    # mount points of other programs need not be UTF-8
    with open('/proc/self/mountinfo', errors='surrogateescape') as file:
        for line in file:
            point = re.sub(r'\\([0-7]{3})', lambda m: chr(int(m[1], 8)),
                           line.split(' ')[4])
            if any(point == folder or point.startswith(folder + '/')
                   for folder in folders):
                found.append(point)
    return found[::-1]


def unmount_below(*folders: str) -> None:
    for point in below(*folders):
        try:
            syscalls.umount(point, syscalls.MNT_DETACH)
        except OSError:
            pass  # already unmounted with another one


def detach(point: str) -> None:
    """Unmount each file system at a path, and those below it."""
    try:
        while True:
            syscalls.umount(point, syscalls.MNT_DETACH)
    except OSError:
        pass  # nothing is mounted there any more
