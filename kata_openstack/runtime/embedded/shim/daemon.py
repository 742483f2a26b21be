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

"""The shim's daemon: serves containerd until the sandbox is gone."""

import asyncio
import os
import signal
import socket
from typing import Any

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.shim.control import guest_service
from kata_openstack.runtime.embedded.shim import event_publisher
from kata_openstack.runtime.embedded.shim import log
from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.shim import service
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.embedded.shim.wire import ttrpc
from kata_openstack.runtime.embedded.vm import machine

_FIRST_SECONDS = 60.0  # for containerd's first request
_LAST_SECONDS = 5.0  # for the last answers and events


def run(config: settings.Settings, record: state.State,
        vm: machine.Machine | None, problem: str, pod: dict[str, Any],
        listener: socket.socket) -> None:
    """Serve containerd until the sandbox is gone.

    :param vm: the launched VM, None if the launch failed.
    :param problem: why there is no ``vm``.
    :param pod: see restore.restore().
    """
    # only containerd's Shutdown ends the daemon
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if vm is None:
        asyncio.run(_refuse(problem, listener))
    else:
        asyncio.run(_serve(config, record, vm, pod, listener))


async def _serve(config: settings.Settings, record: state.State,
                 vm: machine.Machine, own: dict[str, Any],
                 listener: socket.socket) -> None:
    publisher = event_publisher.Publisher(
        os.environ.get('TTRPC_ADDRESS', ''), record.namespace)
    pod = sandbox.Sandbox(config, record, vm, own, publisher)
    tasks = service.TaskService(pod)
    guest = guest_service.GuestService(pod)
    called = asyncio.Event()

    async def handle(name: str, method: str, payload: bytes) -> bytes:
        if name == guest_service.NAME:
            return await guest.handle(method, payload)
        called.set()
        return await tasks.handle(name, method, payload)
    server = ttrpc.Server(handle)
    listening = await asyncio.start_unix_server(server.serve, sock=listener)
    # containerd does not know of this daemon if "start" was killed
    if await _in_time(called):
        await tasks.stopped.wait()
    else:
        log.error('the VM ends: containerd made no request within '
                  f'{_FIRST_SECONDS:g} s of the start')
    pod.stop_vm()
    listening.close()
    await server.finish(_LAST_SECONDS)
    await publisher.close(_LAST_SECONDS)
    log.debug('the shim ends')


async def _in_time(called: asyncio.Event) -> bool:
    """Wait for the first request; return whether it came in time."""
    try:
        async with asyncio.timeout(_FIRST_SECONDS):
            await called.wait()
    except TimeoutError:
        return False
    return True


async def _refuse(problem: str, listener: socket.socket) -> None:
    """Answer containerd's first request with the problem, then end."""
    told = asyncio.Event()

    async def handle(name: str, method: str, payload: bytes) -> bytes:
        told.set()
        raise ttrpc.RpcError(ttrpc.UNKNOWN, problem)
    server = ttrpc.Server(handle)
    listening = await asyncio.start_unix_server(server.serve, sock=listener)
    await _in_time(told)
    listening.close()
    await server.finish(_LAST_SECONDS)
    await asyncio.sleep(0.5)  # containerd may send Delete or Shutdown
