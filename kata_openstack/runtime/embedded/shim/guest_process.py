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

"""A process as containerd sees it: a container's first, or an exec."""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import time
from typing import Any
from typing import Final

from kata_openstack.runtime.embedded.shim import streams
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.vm import agent_channel

CREATED: Final = 1
RUNNING: Final = 2
STOPPED: Final = 3
PAUSED: Final = 4


class Process:
    """A process in the guest. Implements agent_channel.Receiver.

    :param on_stopped: called once, after the last output and after the
        announcement of the start.
    """

    def __init__(self, container: str, exec_id: str, request: dict[str, Any],
                 on_stopped: Callable[['Process'], None]) -> None:
        self.container = container
        self.exec_id = exec_id
        self.terminal = bool(request['terminal'])
        self.paths = (request['stdin'], request['stdout'],
                      request['stderr'])
        self.status = CREATED
        self.exit_status = 0
        self.exited_at = 0.0
        self.oom = False
        self.ident = 0  # the agent's number; 0 before the start
        self.size = (0, 0)
        self.spec: dict[str, Any] = {}  # of an exec, before its start
        self.exited = asyncio.Event()  # output may be in transit
        self.done = asyncio.Event()
        self._on_stopped = on_stopped
        self._streams = streams.Streams(self.paths)
        self._starting = False

    @property
    def has_stdin(self) -> bool:
        return self._streams.has_stdin

    @property
    def starting(self) -> bool:
        """Whether the guest was asked to start it and has not answered."""
        return self._starting

    async def start(self, agent: agent_channel.Channel,
                    call: Callable[[int], Awaitable[Any]],
                    announce: Callable[[], None]) -> None:
        """Start it in the guest.

        :param call: asks the agent to start it with the given number.
        :param announce: called after the start, before on_stopped.
        :raises agent_channel.AgentError: it did not start; its status is
            STOPPED.
        """
        self._starting = True
        self.ident = agent.new_id()
        agent.receive(self.ident, self)
        self._streams.attach(agent, self.ident)
        try:
            await call(self.ident)
        except agent_channel.AgentError:
            agent.forget(self.ident)
            self._starting = False
            self.fail(127)
            raise
        self.status = RUNNING
        self._streams.connect()
        announce()
        self._starting = False
        if self.exited.is_set():
            self._streams.finish(self._stopped)

    # Messages of the agent

    def on_output(self, kind: int, data: bytes) -> None:
        self._streams.output(kind, data)

    def on_consumed(self, count: int) -> None:
        self._streams.consumed(count)

    def on_exit(self, code: int, oom: bool) -> None:
        if self.exited.is_set():
            return
        self.exited.set()
        self.exit_status, self.oom = code, oom
        self.exited_at = time.time()
        if not self._starting:
            self._streams.finish(self._stopped)

    def _stopped(self) -> None:
        self.status = STOPPED
        self.done.set()
        self._on_stopped(self)

    # Requests of containerd

    def fail(self, code: int) -> None:
        """Set it to STOPPED without an exit event: it never started."""
        if not self.done.is_set():
            self.status = STOPPED
            self.exit_status, self.exited_at = code, time.time()
            self.exited.set()
            self.done.set()
            self._streams.close()

    def close_stdin(self) -> None:
        self._streams.close_stdin()

    def ended(self) -> dict[str, Any]:
        return {'exit_status': self.exit_status,
                'exited_at': messages.timestamp(self.exited_at)}
