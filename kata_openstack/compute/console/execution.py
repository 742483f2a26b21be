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

"""A process that a user started in a container, with its own terminal.

kata-compute owns its FIFOs, in a folder that is named after it. So a
kata-compute that was killed finds the process again, and can end it.
"""

import asyncio
import contextlib
import os
import pathlib
import secrets
import shutil
import signal
from typing import Any

from oslo_log import log as logging

from kata_openstack.compute.console import frames
from kata_openstack import exception
from kata_openstack.runtime.containerd import processes

LOG = logging.getLogger(__name__)

# Seconds for a process to end after its terminal has hung up, and after
# SIGKILL
_HANG_UP = 5.0
_KILL = 30.0
# A file in the folder of a process that outlives its user
_DETACHED = 'detached'
# Processes without a user, of each container
_DETACHED_PER_CONTAINER = 16
# Seconds after each read of output that nobody sees. So at most 256 KiB/s are
# read, and output in small pieces causes few wake-ups. A process that writes
# more waits.
_DISCARD_PAUSE = frames.CHUNK / (256 * 1024)


class Execution:
    """One process. Used in one event loop."""

    def __init__(self, api: processes.Processes, folder: pathlib.Path) -> None:
        """:param folder: named after container and process, with its FIFOs"""
        self._api = api
        self._folder = folder
        self._names = (folder.parent.name, folder.name)
        self._stdin = self._stdout = -1
        self._wake = asyncio.Event()
        self._exit: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, api: processes.Processes, root: pathlib.Path,
                    container_id: str, process: dict[str, Any], stdin: bool,
                    size: tuple[int, int] | None) -> 'Execution':
        """Start a process.

        :param root: for the folders of all processes
        :param process: as in an OCI specification
        :param size: rows and columns of its terminal
        :raises KataError: it did not start, and nothing is left of it.
        """
        folder = root / container_id / f'console-{secrets.token_hex(16)}'
        folder.mkdir(mode=0o700, parents=True)
        self = cls(api, folder)
        added = False
        try:
            paths = {name: str(folder / name) if wanted else ''
                     for name, wanted in (
                         ('stdin', stdin), ('stdout', True),
                         ('stderr', not process['terminal']))}
            for name in ('stdin', 'stdout'):
                os.mkfifo(folder / name, 0o600)
            # one FIFO for both, so that their order is kept
            paths['stderr'] = paths['stderr'] and paths['stdout']
            self._open()
            await api.add(*self._names, process, **paths)
            added = True
            if size:
                # upstream Kata cannot do it before the start
                with contextlib.suppress(exception.KataError):
                    await api.resize(*self._names, *size)
            await api.start(*self._names)
        except BaseException:
            self._close(keep=added and not await self._undone())
            raise
        self._watch()
        return self

    async def _undone(self) -> bool:
        """Remove a process that may not have started.

        :returns: False if it is still there.
        """
        try:
            await self._api.delete(*self._names)
        except exception.NotFound:
            pass
        except exception.KataError:
            return False
        return True

    @classmethod
    def adopt(cls, api: processes.Processes, folder: pathlib.Path
              ) -> 'Execution':
        """Take over a process of a kata-compute that ended.

        :raises OSError: the folder is incomplete.
        """
        self = cls(api, folder)
        self._open()
        self._watch()
        return self

    def _open(self) -> None:
        # Read-write, so that they open at once, and do not end before the
        # process has: the shim may open its ends later.
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        self._stdin = os.open(self._folder / 'stdin', flags)
        self._stdout = os.open(self._folder / 'stdout', flags)

    def _watch(self) -> None:
        self._exit = asyncio.create_task(self._api.wait(*self._names))
        self._exit.add_done_callback(lambda _: self._wake.set())

    @property
    def _ended(self) -> bool:
        return self._exit is None or self._exit.done()

    @property
    def detached(self) -> bool:
        return (self._folder / _DETACHED).exists()

    async def receive(self) -> bytes:
        """Return output; b'' after the end of the process."""
        loop = asyncio.get_running_loop()
        while True:
            ended = self._ended  # before the last look at the FIFO
            with contextlib.suppress(BlockingIOError):
                return os.read(self._stdout, frames.CHUNK)
            if ended:
                return b''
            self._wake.clear()
            loop.add_reader(self._stdout, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                loop.remove_reader(self._stdout)

    async def send(self, data: bytes) -> None:
        """Send input; it waits while the process does not read."""
        loop = asyncio.get_running_loop()
        left = memoryview(data)
        while left and not self._ended:
            try:
                left = left[os.write(self._stdin, left):]
            except BlockingIOError:
                writable = asyncio.Event()
                loop.add_writer(self._stdin, writable.set)
                try:
                    await writable.wait()
                finally:
                    loop.remove_writer(self._stdin)

    async def resize(self, rows: int, columns: int) -> None:
        """:raises KataError:"""
        await self._api.resize(*self._names, rows, columns)

    def detach(self) -> bool:
        """Let it run without a user; finish() must follow.

        :returns: False if it may not: abandon() must follow.
        """
        # the folders tell it also after a restart
        others = list(self._folder.parent.glob(f'*/{_DETACHED}'))
        if len(others) >= _DETACHED_PER_CONTAINER:
            LOG.info('A process ends, because its user has detached from %s '
                     'others in container %s', len(others), self._names[0])
            return False
        try:
            (self._folder / _DETACHED).touch(mode=0o600)
        except OSError as e:
            LOG.error('A process ends, because its user has detached: %s', e)
            return False
        return True

    async def finish(self) -> None:
        """Discard output slowly until the process ends, and forget it."""
        await self._discard(_DISCARD_PAUSE)

    async def _discard(self, pause: float) -> None:
        while await self.receive():
            if not self._ended:
                await asyncio.sleep(pause)
        await self._forget()

    async def abandon(self) -> None:
        """Hang up, as a terminal whose user has gone.

        A shell passes this on to its jobs. What stays is killed.
        """
        discarding = asyncio.create_task(self._discard(0))
        try:
            for number, seconds in ((signal.SIGHUP, _HANG_UP),
                                    (signal.SIGKILL, _KILL)):
                with contextlib.suppress(exception.KataError):
                    await self._api.kill(*self._names, number)
                done, _ = await asyncio.wait({discarding}, timeout=seconds)
                if done:
                    break
        finally:
            discarding.cancel()
            await asyncio.gather(discarding, return_exceptions=True)
            self._close(keep=not self._ended)

    async def close(self) -> None:
        """Forget a process that has ended."""
        await self._forget()

    async def _forget(self) -> None:
        with contextlib.suppress(exception.KataError):
            await self._api.delete(*self._names)
        self._close()

    def _close(self, keep: bool = False) -> None:
        """Close the FIFOs.

        :param keep: leave them, so that a later kata-compute tries again.
        """
        if self._exit:
            self._exit.cancel()
        for fd in (self._stdin, self._stdout):
            if fd >= 0:
                os.close(fd)
        self._stdin = self._stdout = -1
        if not keep:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # others use it
                self._folder.parent.rmdir()


def folders(root: pathlib.Path) -> list[pathlib.Path]:
    """Return the folders of all processes."""
    return sorted(path for path in root.glob('*/*') if path.is_dir())
