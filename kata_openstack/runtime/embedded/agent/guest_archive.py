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

"""The child that copies files of a running container."""

import os
import re
import signal
from typing import Any
from typing import NoReturn

from kata_openstack.runtime.embedded.agent import system
from kata_openstack.runtime.embedded.common import syscalls

# Their files have no size and no end, or are no files
_OF_THE_KERNEL = ('proc', 'sysfs', 'cgroup', 'cgroup2', 'devpts', 'mqueue',
                  'devtmpfs', 'debugfs', 'tracefs', 'securityfs', 'bpf',
                  'binfmt_misc', 'configfs', 'pstore')
_FIRST_VICTIM = '1000'  # rather than a program of the container


def run(first: int, order: dict[str, Any]) -> NoReturn:
    """Do an order in a forked child of the agent, with its own fds 0 to 2.

    :param first: the PID of the container's first process.
    :param order: see work.Order.
    """
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.closerange(3, os.sysconf('SC_OPEN_MAX'))
        # Not earlier, because the agent itself needs no such memory; not
        # later, because the container could offer a module of that name
        from kata_openstack.runtime.archives import work
        try:
            wanted = work.Order(**order)
            mounts, kernels = _join(first)
            work.confine()
        except OSError as e:
            work.tell({'failed': f'entering the container: {e}'})
        else:
            work.tell(work.run(wanted, mounts, kernels=kernels))
    finally:
        os._exit(0)


def _join(first: int) -> tuple[list[bytes], set[int]]:
    """Enter a container, whose memory this process then uses.

    :returns: its mount points, and the devices of the kernel's file systems.
    :raises OSError:
    """
    system.write('/proc/self/oom_score_adj', _FIRST_VICTIM)
    group = system.read(f'/proc/{first}/cgroup').strip().partition('::')[2]
    system.write(f'{system.CGROUPS}{group}/cgroup.procs', str(os.getpid()))
    with open(f'/proc/{first}/mountinfo', 'rb') as file:
        found = mounts(file.read())
    namespace = os.open(f'/proc/{first}/ns/mnt', os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(namespace, syscalls.CLONE_NEWNS)
    os.close(namespace)
    os.chdir('/')
    return found


def mounts(mountinfo: bytes) -> tuple[list[bytes], set[int]]:
    """Return the mount points but /, and the kernel's devices."""
    points, kernels = [], set()
    for line in mountinfo.splitlines():
        words = line.split(b' ')
        point = re.sub(rb'\\([0-7]{3})',
                       lambda found: bytes([int(found[1], 8)]), words[4])
        if point != b'/':
            points.append(point)
        if words[words.index(b'-') + 1].decode() in _OF_THE_KERNEL:
            major, minor = words[2].split(b':')
            kernels.add(os.makedev(int(major), int(minor)))
    return points, kernels
