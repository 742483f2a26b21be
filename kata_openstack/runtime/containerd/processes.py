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

"""Additional processes of containers, through containerd's own API.

CRI can start such processes, too. But it gives them no name, so nobody can end
one whose user has gone, and containerd keeps them.
"""

import asyncio
from collections.abc import Callable
import json
from typing import Any

from google.protobuf import any_pb2
import grpc
from oslo_config import cfg

from kata_openstack import exception
from kata_openstack.runtime.containerd import grpc_channel
from kata_openstack.runtime.containerd import grpc_errors
from kata_openstack.runtime.containerd.protos import tasks_pb2 as pb
from kata_openstack.runtime.containerd.protos import tasks_pb2_grpc

# as containerd's typeurl names the process of an OCI specification
_SPEC = 'types.containerd.io/opencontainers/runtime-spec/1/Process'
_PAUSE = 1.0  # seconds between attempts to reach a containerd that restarts


class Processes:
    """Asynchronous calls; no thread waits for the answer of a guest.

    Each can raise ContainerdUnavailable, NotFound or RuntimeFailed.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """:param conf: has the group [containerd] registered"""
        self._conf = conf.containerd
        self._metadata = (('containerd-namespace', conf.containerd.namespace),)
        # The calls of a patient channel block.
        self._channel = grpc_channel.connect(self._conf.address, patience=0)
        self._tasks = tasks_pb2_grpc.TasksStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    async def _call(self, method: Any, request: Any, operation: str,
                    timeout: float | None) -> Any:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        call = method.future(request, timeout=timeout,
                             metadata=self._metadata)
        call.add_done_callback(lambda _: _tell(loop, done.set))
        try:
            await done.wait()
        finally:
            call.cancel()  # does nothing after the end
        try:
            return call.result()
        except grpc.RpcError as e:
            raise grpc_errors.translate(
                e, operation, self._conf.address, 'Process',
                request.exec_id) from e

    async def add(self, container_id: str, exec_id: str,
                  process: dict[str, Any], stdin: str, stdout: str,
                  stderr: str) -> None:
        """Prepare a process.

        :param process: as in an OCI specification
        :param stdin: the path of a FIFO, as the other two; '' for none
        """
        await self._call(self._tasks.Exec, pb.ExecProcessRequest(
            container_id=container_id, exec_id=exec_id, stdin=stdin,
            stdout=stdout, stderr=stderr, terminal=process['terminal'],
            spec=any_pb2.Any(type_url=_SPEC,
                             value=json.dumps(process).encode())),
            'Exec', self._conf.timeout)

    async def start(self, container_id: str, exec_id: str) -> None:
        await self._call(self._tasks.Start, pb.StartRequest(
            container_id=container_id, exec_id=exec_id), 'Start',
            self._conf.sandbox_timeout)

    async def resize(self, container_id: str, exec_id: str, rows: int,
                     columns: int) -> None:
        """Set the size of its terminal, also before the start."""
        await self._call(self._tasks.ResizePty, pb.ResizePtyRequest(
            container_id=container_id, exec_id=exec_id, width=columns,
            height=rows), 'ResizePty', self._conf.timeout)

    async def kill(self, container_id: str, exec_id: str,
                   signal: int) -> None:
        await self._call(self._tasks.Kill, pb.KillRequest(
            container_id=container_id, exec_id=exec_id, signal=signal),
            'Kill', self._conf.timeout)

    async def delete(self, container_id: str, exec_id: str) -> None:
        """Forget a process that has ended."""
        await self._call(self._tasks.DeleteProcess, pb.DeleteProcessRequest(
            container_id=container_id, exec_id=exec_id), 'DeleteProcess',
            self._conf.timeout)

    async def wait(self, container_id: str, exec_id: str) -> None:
        """Return when the process has ended or does not exist.

        All its output is in its FIFO then. The wait goes on after a restart
        of containerd.
        """
        while True:
            try:
                await self._call(self._tasks.Wait, pb.WaitRequest(
                    container_id=container_id, exec_id=exec_id), 'Wait', None)
                return
            except exception.NotFound:
                return
            except exception.KataError:
                await asyncio.sleep(_PAUSE)


def _tell(loop: asyncio.AbstractEventLoop,
          function: Callable[[], None]) -> None:
    """Call the function in the loop, unless the loop has ended."""
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        pass
