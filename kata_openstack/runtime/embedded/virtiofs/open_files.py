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
    """Asks the guest to forget files when a virtiofsd has many of them open.

    It looks each time that a virtiofsd has used CPU time, during which it can
    open a quarter of the allowed files at most. An idle virtiofsd costs
    nothing.

    :param forget: asks the guest; returns when the guest has forgotten the
        files that it does not use.
    """

    def __init__(self, forget: Callable[[], Awaitable[None]]) -> None:
        self._forget = forget
        self._servers: list[_Server] = []
        self._busy = asyncio.Event()
        # before the first timer, whose signal would be lost
        asyncio.get_running_loop().add_signal_handler(
            _SIGNAL, self._busy.set)

    def add(self, pid: int) -> None:
        """Watch one more virtiofsd. All get equal parts of the first's limit.

        :param pid: a virtiofsd that the shim started, and that serves.
        :raises OSError: it has ended, or its limit cannot be changed.
        """
        new = _Server(pid)
        total = self._servers[0].limit * len(
            self._servers) if self._servers else new.limit
        self._servers.append(new)
        for server in self._servers:
            server.set_limit(total // len(self._servers))
        self._busy.set()  # the first may have more files open than its part

    async def run(self) -> None:
        """Watch until the task is cancelled."""
        try:
            while True:
                await self._busy.wait()
                self._busy.clear()
                while await self._look():
                    await asyncio.sleep(_FULL_SECONDS)
        finally:
            for server in self._servers:
                server.close()
            asyncio.get_running_loop().remove_signal_handler(_SIGNAL)

    async def _look(self) -> bool:
        """Return whether a virtiofsd is near its limit."""
        for server in self._servers:
            server.look()
        if any(server.level > server.asked or server.full
               for server in self._servers):
            await self._forget()
        for server in self._servers:
            server.asked = server.level
        return any(server.full for server in self._servers)


class _Server:
    """A virtiofsd, and how many files it has open.

    Linux always gives a process the lowest free file descriptor. So if a high
    one is open, as many files were open at the same time. To look for one
    descriptor is far cheaper than to count them.

    ``level``: how many of _LEVELS were exceeded when it was looked at.
    ``asked``: the highest level for which the guest was asked.
    """

    def __init__(self, pid: int) -> None:
        self._pid = _server(pid)
        self.limit = resource.prlimit(self._pid, resource.RLIMIT_NOFILE)[0]
        self.level = self.asked = 0
        self._numbers: list[int] = []
        self._timer: int | None = None

    @property
    def full(self) -> bool:
        return self.level == len(_LEVELS)

    def set_limit(self, limit: int) -> None:
        """Set its limit of open files; have the signal sent when it works."""
        self.close()
        if limit != self.limit:
            resource.prlimit(self._pid, resource.RLIMIT_NOFILE,
                             (limit, limit))
            self.limit = limit
        self._numbers = [int(limit * level) for level in _LEVELS]
        self._timer = syscalls.start_cpu_timer(
            self._pid, limit / 4 / _PER_SECOND, _SIGNAL)

    def look(self) -> None:
        self.level = 0
        for number in self._numbers:
            if not all(map(self._is_open, range(number, number + _WINDOW))):
                break
            self.level += 1

    def _is_open(self, number: int) -> bool:
        try:
            os.lstat(f'/proc/{self._pid}/fd/{number}')
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._timer is not None:
            syscalls.delete_timer(self._timer)
            self._timer = None


def _server(pid: int) -> int:
    """Return the virtiofsd that serves: it is a child of the first one."""
    with open(f'/proc/{pid}/task/{pid}/children') as file:
        children = file.read().split()
    return int(children[0]) if children else pid
