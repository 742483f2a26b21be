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

"""What kata-compute asks of a guest beside containerd.

containerd's API for runtimes has no word for it. The service has the shim's
socket, which only root can open. Arguments and answers are JSON objects.
"""

from collections.abc import Awaitable
from collections.abc import Callable
import functools
import json
from typing import Any
from typing import Final

from kata_openstack.runtime.embedded.shim import agent_errors
from kata_openstack.runtime.embedded.shim.control import transfers
from kata_openstack.runtime.embedded.shim import guest_process
from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.shim.wire import ttrpc
from kata_openstack.runtime.embedded.vm import agent_channel

NAME: Final = 'kata_openstack.Guest'
_MAX_PROCESSES = 2000
_MAX_ROUNDS = 200
_MAX_TEXT = 1024  # characters of a name or a command line
_MAX_NUMBER = 1 << 53
# The values of a process, as the guest sends them
_NUMBERS = ('pid', 'ppid', 'uid', 'gid', 'cpu_seconds', 'nice', 'threads',
            'age_seconds', 'virtual_kib', 'resident_kib')
_TEXTS = ('state', 'name', 'arguments', 'tty')


class GuestService:
    """The service. It has a method for each of its calls."""

    def __init__(self, pod: sandbox.Sandbox) -> None:
        self._pod = pod
        archives = transfers.Transfers(pod)
        self._methods: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            'Processes': self._processes,
            'OpenArchive': functools.partial(self._open, archives),
            'ReadArchive': archives.read, 'WriteArchive': archives.write,
            'CloseArchive': archives.close}

    async def handle(self, method: str, payload: bytes) -> bytes:
        """Answer a request.

        :raises ttrpc.RpcError:
        """
        known = self._methods.get(method)
        if known is None:
            raise ttrpc.RpcError(ttrpc.UNIMPLEMENTED,
                                 f'{NAME}/{method} is not implemented')
        try:
            answer = await known(**json.loads(payload))
        except (TypeError, KeyError, ValueError) as e:
            raise ttrpc.RpcError(ttrpc.INVALID_ARGUMENT, str(e)) from e
        except transfers.TransferError as e:
            raise ttrpc.RpcError(ttrpc.FAILED_PRECONDITION, str(e)) from e
        return json.dumps(answer).encode()

    def _running(self, container: str) -> sandbox.Container:
        found = self._pod.containers.get(container)
        if (found is None or found.guest is None
                or found.first.status != guest_process.RUNNING):
            raise ttrpc.RpcError(ttrpc.NOT_FOUND,
                                 f'container {container} does not run')
        return found

    async def _open(self, archives: transfers.Transfers, container: str,
                    order: dict[str, Any]) -> dict[str, Any]:
        self._running(container)
        with agent_errors.passed_on(self._pod):
            return await archives.open(container, order)

    async def _processes(self, container: str) -> dict[str, Any]:
        """Return the processes of a running container.

        :returns: ``processes``, a list; see
            :func:`kata_openstack.runtime.embedded.agent.guest_ps.read`.
        """
        found = self._running(container)
        processes: list[dict[str, Any]] = []
        last = 0
        for _ in range(_MAX_ROUNDS):
            if len(processes) >= _MAX_PROCESSES:
                break
            answer = await self._ask('processes', container=found.id,
                                     after=last)
            processes += _checked(answer.get('processes'))
            following = answer.get('last')
            if (not isinstance(following, int) or following <= last
                    or not answer.get('processes')):
                break
            last = following
        return {'processes': processes[:_MAX_PROCESSES]}

    async def _ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        with agent_errors.passed_on(self._pod):
            return await self._pod.agent.call(method, **arguments)


def _checked(raw: Any) -> list[dict[str, Any]]:
    """Return the processes in the form that callers expect.

    The guest is not trusted: a wrong value becomes 0 or an empty text.
    """
    if not isinstance(raw, list):
        return []
    return [{**{name: _number(one.get(name)) for name in _NUMBERS},
             **{name: agent_channel.printable(str(one.get(name, '')))
                [:_MAX_TEXT] for name in _TEXTS}}
            for one in raw if isinstance(one, dict)]


def _number(value: Any) -> int | float:
    if isinstance(value, (int, float)) and abs(value) < _MAX_NUMBER:
        return value
    return 0
