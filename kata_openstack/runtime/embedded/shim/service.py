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

"""The task service, which containerd calls in a shim."""

import asyncio
import json
import os
import signal
from typing import Any

from kata_openstack.runtime.embedded.shim import agent_errors
from kata_openstack.runtime.embedded.shim import guest_process
from kata_openstack.runtime.embedded.shim import log
from kata_openstack.runtime.embedded.shim import metrics
from kata_openstack.runtime.embedded.shim.oci import refusals
from kata_openstack.runtime.embedded.shim.oci import spec
from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import ttrpc
from kata_openstack.runtime.embedded.vm import agent_channel

_START_SECONDS = 120  # for crun under emulation on an overloaded node
_KILL_SECONDS = 15  # from SIGKILL to the exit, on such a node
# containerd asks for the figures of one container after the other, so a guest
# that does not answer must not hold it up.
_STATS_SECONDS = 2
_EVENT_SECONDS = 2  # an exit waits this long for the event of its cause


def _not_found(what: str) -> ttrpc.RpcError:
    return ttrpc.RpcError(ttrpc.NOT_FOUND, f'{what}: not found')


class TaskService:
    """The service. It has a method for each of containerd's.

    Requests and answers are dictionaries. A Shutdown sets ``stopped`` if
    no container is left, or if it says ``now``.
    """

    def __init__(self, pod: sandbox.Sandbox) -> None:
        self._pod = pod
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopped = asyncio.Event()

    async def handle(self, service: str, method: str,
                     payload: bytes) -> bytes:
        """Answer a request. Implements ttrpc.Handler."""
        known = messages.TASK_METHODS.get(method)
        if service != messages.TASK_SERVICE or known is None:
            raise ttrpc.RpcError(ttrpc.UNIMPLEMENTED,
                                 f'{service}/{method} is not implemented')
        request_type, response_type = known
        request = request_type.decode(payload)
        log.debug(f'{method} {request.get("id")} '
                  f'{request.get("exec_id", "")}')
        answer = await getattr(self, '_' + method.lower())(request)
        return response_type.encode(answer or {})

    # Look-up

    def _container(self, request: dict[str, Any]) -> sandbox.Container:
        found = self._pod.containers.get(request['id'])
        if found is None:
            raise _not_found(f'container {request["id"]}')
        return found

    def _process(self, request: dict[str, Any]) -> guest_process.Process:
        container = self._container(request)
        exec_id = request.get('exec_id', '')
        if not exec_id:
            return container.first
        if exec_id not in container.execs:
            raise _not_found(f'process {exec_id}')
        return container.execs[exec_id]

    def _guest(self, request: dict[str, Any]) -> sandbox.Container:
        """Return a container that runs in the guest, no pod's sandbox."""
        container = self._container(request)
        if container.guest is None:
            raise ttrpc.RpcError(
                ttrpc.UNIMPLEMENTED,
                'a sandbox of this runtime has no process; name one of its '
                'containers')
        if container.first.status != guest_process.RUNNING:
            raise ttrpc.RpcError(
                ttrpc.FAILED_PRECONDITION, self._pod.lost
                or f'container {container.id} is not running')
        return container

    async def _ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        with agent_errors.passed_on(self._pod):
            return await self._pod.agent.call(method, **arguments)

    @property
    def _pid(self) -> int:
        return self._pod.pid

    # Life cycle

    async def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        if request['id'] in self._pod.containers:
            raise ttrpc.RpcError(ttrpc.ALREADY_EXISTS,
                                 f'container {request["id"]} already exists')
        if self._pod.lost:
            raise ttrpc.RpcError(ttrpc.UNKNOWN, self._pod.lost)
        if request['checkpoint'] or request['parent_checkpoint']:
            raise ttrpc.RpcError(ttrpc.UNIMPLEMENTED,
                                 'kata-embedded does not support checkpoints')
        try:
            self._pod.add(request)
        except refusals.Refused as e:
            raise ttrpc.RpcError(ttrpc.INVALID_ARGUMENT, str(e)) from e
        except OSError as e:
            raise ttrpc.RpcError(
                ttrpc.UNKNOWN,
                f'cannot prepare container {request["id"]}: {e}') from e
        self._pod.publisher.publish(
            '/tasks/create', container_id=request['id'],
            bundle=request['bundle'], rootfs=request['rootfs'],
            io={key: request[key]
                for key in ('stdin', 'stdout', 'stderr', 'terminal')},
            pid=self._pid)
        return {'pid': self._pid}

    async def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        container = self._container(request)
        wanted = self._process(request)
        if wanted.status != guest_process.CREATED or wanted.ident:
            # the end of the VM also ends processes that were not started
            raise ttrpc.RpcError(
                ttrpc.FAILED_PRECONDITION,
                self._pod.lost
                or 'the process was started before, or has ended')
        if wanted.exec_id:
            topic, more = '/tasks/exec-started', {'exec_id': wanted.exec_id}
        else:
            topic, more = '/tasks/start', {}

        def announce() -> None:
            self._pod.publisher.publish(topic, container_id=container.id,
                                        pid=self._pid, **more)
        try:
            await self._pod.until_ready()
            if not wanted.exec_id:
                await self._pod.share_live(container)
            if wanted.done.is_set():
                raise ttrpc.RpcError(ttrpc.FAILED_PRECONDITION,
                                     'the process was killed or deleted '
                                     'before its start')
            if container.guest is None:
                wanted.status = guest_process.RUNNING
                announce()
            else:
                await wanted.start(self._pod.agent,
                                   lambda ident: self._run(
                                       container, wanted, ident), announce)
                self._pod.limit_cpu()
        except agent_channel.AgentError as e:
            wanted.fail(127)
            raise ttrpc.RpcError(ttrpc.UNKNOWN,
                                 self._pod.lost or str(e)) from e
        return {'pid': self._pid}

    async def _run(self, container: sandbox.Container,
                   wanted: guest_process.Process, ident: int) -> None:
        arguments: dict[str, Any] = {
            'ident': ident, 'container': container.id,
            'terminal': wanted.terminal, 'stdin': wanted.has_stdin,
            'size': wanted.size, 'seconds': _START_SECONDS}
        if wanted.exec_id:
            await self._pod.agent.call(
                'exec', process_spec=wanted.spec, **arguments)
        else:
            await self._pod.agent.call(
                'run', config=container.guest, **arguments)
        wanted.spec = {}

    async def _exec(self, request: dict[str, Any]) -> None:
        container = self._guest(request)
        if request['exec_id'] in container.execs:
            raise ttrpc.RpcError(
                ttrpc.ALREADY_EXISTS,
                f'process {request["exec_id"]} already exists')
        try:
            # first, because a Process holds open files
            wanted_spec = spec.for_process(
                json.loads(request['spec']['value']),
                bool(request['terminal']))
            wanted = guest_process.Process(container.id, request['exec_id'],
                                           request, self._pod.on_stopped)
            wanted.spec = wanted_spec
        except (refusals.Refused, ValueError) as e:
            raise ttrpc.RpcError(ttrpc.INVALID_ARGUMENT, str(e)) from e
        except OSError as e:
            raise ttrpc.RpcError(ttrpc.UNKNOWN, str(e)) from e
        container.execs[wanted.exec_id] = wanted
        self._pod.publisher.publish(
            '/tasks/exec-added', container_id=container.id,
            exec_id=wanted.exec_id)

    async def _kill(self, request: dict[str, Any]) -> None:
        container = self._container(request)
        wanted = self._process(request)
        if wanted.done.is_set():
            raise _not_found('process already finished')
        if container.guest is None:
            wanted.on_exit(128 + request['signal'], False)
            if all(c.first.done.is_set()
                   for c in self._pod.containers.values()):
                self._pod.stop_vm()
        elif not wanted.ident:
            wanted.on_exit(128 + request['signal'], False)
        elif request['signal'] == signal.SIGKILL:
            task = asyncio.create_task(self._see_it_end(wanted, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            try:
                await self._signal(wanted, request)
            except ttrpc.RpcError as e:
                if e.code == ttrpc.NOT_FOUND:
                    raise
                # With an error, containerd would not stop the sandbox, as if
                # a guest could refuse this signal.
                await asyncio.shield(task)
        else:
            await self._signal(wanted, request)

    async def _signal(self, wanted: guest_process.Process,
                      request: dict[str, Any]) -> None:
        try:
            await self._ask('kill', ident=wanted.ident,
                            number=request['signal'],
                            everyone=bool(request['all']))
        except ttrpc.RpcError as e:
            if wanted.exited.is_set() or 'finished' in str(e):
                raise _not_found('process already finished') from e
            raise

    async def _see_it_end(self, wanted: guest_process.Process,
                          request: dict[str, Any]) -> None:
        """End the VM if its guest does not end a process after SIGKILL.

        containerd waits for the exit without limit before it stops the
        sandbox. A hostile guest must not be able to block that.
        """
        if wanted.starting:
            while wanted.starting:  # for _START_SECONDS at most
                await asyncio.sleep(0.1)
            await self._signal_again(wanted, request)
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                await wanted.exited.wait()
        except TimeoutError:
            self._pod.agent.close('the guest did not end a process within '
                                  f'{_KILL_SECONDS} s of SIGKILL')

    async def _signal_again(self, wanted: guest_process.Process,
                            request: dict[str, Any]) -> None:
        """Repeat a signal that came before the process existed."""
        try:
            await self._signal(wanted, request)
        except ttrpc.RpcError as e:
            log.debug(f'could not signal {wanted.container} again: {e}')

    async def _delete(self, request: dict[str, Any]) -> dict[str, Any]:
        container = self._container(request)
        wanted = self._process(request)
        if wanted.starting or wanted.status not in (
                guest_process.STOPPED, guest_process.CREATED):
            raise ttrpc.RpcError(ttrpc.FAILED_PRECONDITION,
                                 'the process must be stopped first')
        # as with runc, which kills the container's process, and has none yet
        # for an exec
        wanted.fail(0 if wanted.exec_id else 128 + signal.SIGKILL)
        answer = {'pid': self._pid, **wanted.ended()}
        if wanted.exec_id:
            del container.execs[wanted.exec_id]
            return answer
        self._pod.remove(container)
        self._pod.publisher.publish('/tasks/delete',
                                    container_id=container.id, **answer)
        return answer

    # Queries and small requests

    async def _state(self, request: dict[str, Any]) -> dict[str, Any]:
        container = self._container(request)
        wanted = self._process(request)
        status = wanted.status
        if container.paused and status == guest_process.RUNNING:
            status = guest_process.PAUSED
        return {'id': container.id, 'exec_id': wanted.exec_id,
                'bundle': container.bundle, 'pid': self._pid,
                'status': status, 'stdin': wanted.paths[0],
                'stdout': wanted.paths[1], 'stderr': wanted.paths[2],
                'terminal': wanted.terminal, **wanted.ended()}

    async def _wait(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = self._process(request)
        await wanted.done.wait()
        if wanted.oom:
            # containerd reports the exit at once, and must know the cause
            await self._pod.publisher.settle(_EVENT_SECONDS)
        return wanted.ended()

    async def _pids(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return QEMU's pid only.

        The guest's pids mean other processes on the host. A containerd that
        restarts takes a shim without pids for a leaked one, and ends it.
        """
        self._container(request)
        return {'processes': [{'pid': self._pid}]}

    async def _stats(self, request: dict[str, Any]) -> dict[str, Any]:
        container = self._container(request)
        if container.guest is None:
            return metrics.encode(self._pod.figures())
        return metrics.encode(
            await self._ask('stats', seconds=_STATS_SECONDS,
                            container=self._guest(request).id),
            [self._pod.moved_bytes()])

    async def _pause(self, request: dict[str, Any]) -> None:
        await self._freeze(self._guest(request), True)

    async def _resume(self, request: dict[str, Any]) -> None:
        await self._freeze(self._guest(request), False)

    async def _freeze(self, container: sandbox.Container,
                      frozen: bool) -> None:
        await self._ask('freeze', container=container.id, frozen=frozen)
        container.paused = frozen
        self._pod.publisher.publish(
            '/tasks/paused' if frozen else '/tasks/resumed',
            container_id=container.id)

    async def _update(self, request: dict[str, Any]) -> None:
        if self._container(request).guest is None:
            return
        container = self._guest(request)
        try:
            wanted = json.loads(request['resources']['value'])
        except (TypeError, ValueError) as e:
            raise ttrpc.RpcError(ttrpc.INVALID_ARGUMENT,
                                 'resources are not JSON') from e
        try:
            found = spec.resources(wanted)
            self._pod.check_size(found)
        except refusals.Refused as e:
            raise ttrpc.RpcError(ttrpc.INVALID_ARGUMENT, str(e)) from e
        await self._ask('update', container=container.id, resources=found)
        self._pod.change_cpu(container, found)

    async def _resizepty(self, request: dict[str, Any]) -> None:
        wanted = self._process(request)
        wanted.size = (request['height'] & 0xFFFF, request['width'] & 0xFFFF)
        if wanted.ident and wanted.status == guest_process.RUNNING:
            await self._ask('resize', ident=wanted.ident,
                            rows=wanted.size[0], columns=wanted.size[1])

    async def _closeio(self, request: dict[str, Any]) -> None:
        if request['stdin']:
            self._process(request).close_stdin()

    async def _connect(self, request: dict[str, Any]) -> dict[str, Any]:
        return {'shim_pid': os.getpid(), 'task_pid': self._pid,
                'version': 'v2'}

    async def _shutdown(self, request: dict[str, Any]) -> None:
        if request['now'] or not self._pod.containers:
            self.stopped.set()
