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

"""Calls to the guest of a sandbox, through its shim."""

import asyncio
import dataclasses
import json
from typing import Any

from oslo_config import cfg

from kata_openstack import exception
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.shim.control import guest_service
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.embedded.shim.wire import protobuf
from kata_openstack.runtime.embedded.shim.wire import ttrpc
from kata_openstack.runtime.hypervisors import embedded


class NoGuestService(Exception):
    """The sandbox has no such service: another runtime or release made it."""


@dataclasses.dataclass(frozen=True)
class Room:
    """What a VM offers to its containers together."""

    cpus: int
    memory_mib: int


def room(conf: cfg.ConfigOpts, sandbox: str) -> Room | None:
    """Return what a sandbox offers; None if another runtime made it."""
    config, found = _find(conf, sandbox)
    if config is None or found is None:
        return None
    return Room(found.vcpus, found.memory_mib - config.guest_overhead_mib)


def _find(conf: cfg.ConfigOpts, sandbox: str
          ) -> tuple[settings.Settings | None, state.State | None]:
    try:
        config = settings.Settings.load(str(embedded.config_path(conf)))
    except (OSError, ValueError):
        return None, None
    return config, state.State.load(config, sandbox)


def call(conf: cfg.ConfigOpts, sandbox: str, method: str,
         timeout: float, **arguments: Any) -> dict[str, Any]:
    """Call a method of a sandbox's guest service.

    Needs a thread without an event loop.

    :param sandbox: the sandbox's ID in containerd.
    :param timeout: seconds.
    :raises NoGuestService:
    :raises NotFound: the container does not run.
    :raises RuntimeFailed: the shim or the guest failed, or did not answer.
    """
    _, found = _find(conf, sandbox)
    if found is None:
        raise NoGuestService(f'{sandbox} is no sandbox of kata-embedded')
    try:
        return json.loads(asyncio.run(_call(
            found.socket, method, json.dumps(arguments).encode(), timeout)))
    except ttrpc.RpcError as e:
        if e.code == ttrpc.UNIMPLEMENTED:
            raise NoGuestService(str(e)) from e
        if e.code == ttrpc.NOT_FOUND:
            raise exception.NotFound(
                kind='Container', id=arguments.get('container', '')) from e
        raise exception.RuntimeFailed(operation=method, why=str(e)) from e
    except (OSError, EOFError, ValueError, TimeoutError,
            protobuf.DecodeError) as e:
        raise exception.RuntimeFailed(
            operation=method, why='the runtime of the container does not '
            f'answer: {e or type(e).__name__}') from e


async def _call(path: str, method: str, payload: bytes,
                timeout: float) -> bytes:
    client = ttrpc.Client(path)
    try:
        async with asyncio.timeout(timeout):
            return await client.call(guest_service.NAME, method, payload, [])
    finally:
        client.close()
