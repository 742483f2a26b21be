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
"""How many files virtiofsd has open, and how the guest stays below the limit.

virtiofsd keeps a file open for each one that the guest remembers, and a guest
remembers all files that it has seen until its own memory gets short. So the
shim watches virtiofsd, and has the guest forget files in time. Files that
programs of the guest have open count too, and cannot be forgotten: at the
limit, these programs get "Too many open files".

virtiofsd written in Rust can keep file handles instead of open files. That is
not used: an overlay, which the root of a container is, has handles only with
nfs_export=on, and virtiofsd would need CAP_DAC_READ_SEARCH, with which it
could open each file of the host.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import os
import resource
import signal

from kata_openstack.runtime.embedded.common import syscalls

# The kernel opens 230,000 files in a second of CPU time in the way of
# virtiofsd, which takes more time. Faster processors exist.
_PER_SECOND = 400_000
# Parts of the limit. Each is a reason for one request, until the number of
# open files was below it again; the last one is a reason for one each second.
_LEVELS = (1 / 2, 3 / 4, 7 / 8, 15 / 16)
_WINDOW = 8  # descriptors of which some may stay open for long
_FULL_SECONDS = 1.0
_SIGNAL = signal.SIGURG  # ignored by default, so a late one does no harm


class Watch:
    """Asks the guest to forget files when virtiofsd has many of them open.

    It looks each time that virtiofsd has used CPU time, during which it can
    open a quarter of the allowed files at most. An idle virtiofsd costs
    nothing.

    Linux always gives a process the lowest free file descriptor. So if a high
    one is open, as many files were open at the same time. To look for one
    descriptor is far cheaper than to count them.

    :param pid: the virtiofsd that the shim started.
    :param forget: asks the guest; returns when the guest has forgotten the
        files that it does not use.
    """

    def __init__(self, pid: int,
                 forget: Callable[[], Awaitable[None]]) -> None:
        self._pid = _server(pid)
        limit = resource.prlimit(self._pid, resource.RLIMIT_NOFILE)[0]
        self._levels = [int(limit * level) for level in _LEVELS]
        self._seconds = limit / 4 / _PER_SECOND
        self._asked = 0  # the highest level for which the guest was asked
        self._forget = forget

    async def run(self) -> None:
        """Watch until the task is cancelled."""
        loop = asyncio.get_running_loop()
        busy = asyncio.Event()
        loop.add_signal_handler(_SIGNAL, busy.set)
        timer = syscalls.start_cpu_timer(self._pid, self._seconds, _SIGNAL)
        try:
            while True:
                await busy.wait()
                busy.clear()
                while await self._look():
                    await asyncio.sleep(_FULL_SECONDS)
        finally:
            syscalls.delete_timer(timer)
            loop.remove_signal_handler(_SIGNAL)

    async def _look(self) -> bool:
        """Return whether virtiofsd is near its limit."""
        level = self._level()
        full = level == len(self._levels)
        if level > self._asked or full:
            await self._forget()
        self._asked = level
        return full

    def _level(self) -> int:
        """Return how many of the levels are exceeded."""
        level = 0
        for number in self._levels:
            if not all(map(self._is_open, range(number, number + _WINDOW))):
                break
            level += 1
        return level

    def _is_open(self, number: int) -> bool:
        try:
            os.lstat(f'/proc/{self._pid}/fd/{number}')
        except OSError:
            return False
        return True


def _server(pid: int) -> int:
    """Return the virtiofsd that serves: it is a child of the first one."""
    with open(f'/proc/{pid}/task/{pid}/children') as file:
        children = file.read().split()
    return int(children[0]) if children else pid
