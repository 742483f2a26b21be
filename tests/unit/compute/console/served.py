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

"""A console server in a thread, in front of a process that the test plays."""

import asyncio
import functools
import threading
import time
from typing import Any

import docker
import fixtures
import websocket

from kata_openstack.compute.console import server
from kata_openstack.compute.console import sessions


def until(condition: Any, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Process:
    """What a terminal is connected to.

    ``written``: the input that it has read; it reads none while ``deaf``.
    ``ended``: 'close', 'finish' or 'abandon' after that was called.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.output: asyncio.Queue[bytes] = asyncio.Queue()
        self.written = bytearray()
        self.deaf = False
        self.given = 0  # bytes of output that were asked for
        self.ended = ''
        self.may_detach = True
        self.finished = asyncio.Event()

    def says(self, *chunks: bytes) -> None:
        """Give out output, from the thread of the test; b'' is the end."""
        for chunk in chunks:
            self.loop.call_soon_threadsafe(self.output.put_nowait, chunk)

    async def receive(self) -> bytes:
        data = await self.output.get()
        self.given += len(data)
        return data

    async def send(self, data: bytes) -> None:
        while self.deaf:
            await asyncio.sleep(0.01)
        self.written += data

    async def close(self) -> None:
        self.ended = 'close'

    def detach(self) -> bool:
        return self.may_detach

    async def finish(self) -> None:
        self.ended = 'finish'
        await self.finished.wait()

    async def abandon(self) -> None:
        self.ended = 'abandon'


class Served(fixtures.Fixture):
    """Attributes: ``sessions``, ``processes``, ``port``, ``error``,
    ``said``: what a process says at once.

    :param tls: the server's ssl.SSLContext
    """

    def __init__(self, timeout: float = 60, most: int = 64, tls: Any = None
                 ) -> None:
        super().__init__()
        self.sessions = sessions.Sessions(timeout, most)
        self.processes: list[Process] = []
        self.said: list[bytes] = []
        self.error: Exception | None = None
        self._tls = tls

    def _setUp(self) -> None:
        ready = threading.Event()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._run(ready)))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.stop)
        ready.wait(10)

    async def _run(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        served = server.Server(self.sessions, self._open)
        self.port = await served.start('127.0.0.1', 0, self._tls)
        ready.set()
        await self._stopping.wait()
        await served.stop()

    def stop(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._stopping.set)
        except RuntimeError:
            pass  # it has stopped

    async def _open(self, session: sessions.Session) -> Process:
        if self.error:
            raise self.error
        process = Process()
        for chunk in self.said:
            process.output.put_nowait(chunk)
        self.processes.append(process)
        return process

    def session(self, kind: str, container: str = 'c', terminal: bool = True,
                project: str = 'p') -> str:
        return self.sessions.add(sessions.Session(
            kind, project, container, f'id-{container}', terminal=terminal,
            stdin=terminal))

    # as zun-wsproxy does

    @functools.cached_property
    def docker(self) -> docker.APIClient:
        client = docker.APIClient(base_url=f'tcp://127.0.0.1:{self.port}')
        self.addCleanup(client.close)
        return client

    def exec(self, secret: str = '', **session: Any) -> Any:
        """Return the socket of a started exec."""
        secret = secret or self.session(sessions.EXEC, **session)
        found = self.docker.exec_start(secret, socket=True, tty=True)
        found = getattr(found, '_sock', found)
        found.settimeout(10)
        self.addCleanup(found.close)
        return found

    def attach(self, secret: str = '', **session: Any) -> Any:
        secret = secret or self.session(sessions.ATTACH, **session)
        found = websocket.create_connection(
            f'ws://127.0.0.1:{self.port}/attach?token={secret}',
            skip_utf8_validation=True, timeout=10)
        self.addCleanup(found.shutdown)
        return found

    def process(self, number: int = 0) -> Process:
        if not until(lambda: len(self.processes) > number):
            raise AssertionError('no process was started')
        return self.processes[number]


def read(connection: Any, size: int) -> bytes:
    """Read from a socket; less than ``size`` bytes if it ends before."""
    data = b''
    while len(data) < size:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data
