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

"""Plug the live share into a VM that runs."""

import asyncio
from collections.abc import Callable
import contextlib

from kata_openstack.runtime.embedded.vm import agent_channel
from kata_openstack.runtime.embedded.vm import launch
from kata_openstack.runtime.embedded.vm import machine
from kata_openstack.runtime.embedded.vm import qemu
from kata_openstack.runtime.embedded.vm import qmp

_SECONDS = 60  # takes 0.1 s, but far more on an overloaded node
_UNDO_SECONDS = 5


class LiveShare:
    """The live share of a VM, once a container needs it.

    :param on_started: called with the pid of its virtiofsd, 0 when that was
        ended again.
    :param on_plugged: called with that pid when the VM has the share.
    """

    def __init__(self, vm: machine.Machine, agent: agent_channel.Channel,
                 monitor: qmp.Qmp, on_started: Callable[[int], None],
                 on_plugged: Callable[[int], None]) -> None:
        self._vm = vm
        self._agent = agent
        self._monitor = monitor
        self._on_started = on_started
        self._on_plugged = on_plugged
        self._task: asyncio.Task[None] | None = None
        self._attempts = 0
        self._chardev = ''
        self._plugged = False
        self._closed = False

    async def plug(self) -> None:
        """Return when the guest has mounted the share. Idempotent.

        The VM must be ready. After a failure, the next call tries again.

        :raises agent_channel.AgentError: the text names the cause.
        """
        if self._closed:
            raise agent_channel.AgentGone('the sandbox was stopped')
        if self._task is None:
            self._task = asyncio.create_task(self._plug())
            self._task.add_done_callback(self._finished)
        task = self._task
        try:
            # one caller that gives up does not stop the others
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise agent_channel.AgentGone('the sandbox was stopped') from None

    def _finished(self, task: asyncio.Task[None]) -> None:
        # without exception(), asyncio would warn if no caller is left
        if task.cancelled() or task.exception():
            self._task = None

    async def _plug(self) -> None:
        try:
            if not self._plugged:
                async with asyncio.timeout(_SECONDS):
                    await self._add()
            await self._agent.call('mount_live', seconds=_SECONDS)
        except agent_channel.AgentGone:
            raise
        except (OSError, launch.LaunchFailed, qmp.QmpError,
                agent_channel.AgentError) as e:
            if not self._plugged:
                await self._remove_chardev()
            why = str(e) or f'QEMU did not answer within {_SECONDS} s'
            raise agent_channel.AgentError(
                'cannot share files of the host with the VM: ' + ': '.join(
                    filter(None, (
                    why, agent_channel.last_words(self._vm.live_log))))) from e

    async def _add(self) -> None:
        """Start virtiofsd and add the device; undo both on a failure."""
        self._chardev = f'live{self._attempts}'
        self._attempts += 1
        try:
            with self._vm.serve_live() as connection:
                self._on_started(self._vm.live_pid)
                await self._monitor.add_socket(self._chardev,
                                               connection.fileno())
            await self._monitor.execute('device_add',
                                        **qemu.live_device(self._chardev))
        except BaseException:
            self._vm.end_live()
            self._on_started(0)
            raise
        self._plugged = True
        self._on_plugged(self._vm.live_pid)

    async def _remove_chardev(self) -> None:
        """Remove what QEMU would keep of a failed attempt."""
        with contextlib.suppress(qmp.QmpError, TimeoutError):
            async with asyncio.timeout(_UNDO_SECONDS):
                await self._monitor.execute('chardev-remove',
                                            id=self._chardev)

    def close(self) -> None:
        """Give up; the VM ends. Idempotent."""
        self._closed = True
        if self._task:
            self._task.cancel()
