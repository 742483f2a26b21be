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

"""New limits of CPU and memory for a container.

A VM of the embedded runtime keeps its size, so the new limits must fit into
it. A stopped container gets a VM of the new size when it starts.
"""

from oslo_config import cfg
from oslo_utils import units

from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import cri_config
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded import guest_client

_STOP = ('Stop the container first, and start it again after the change: '
         'then it gets a VM of the new size.')


class Resizing:
    """Changes limits. Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 containers_: containers.Containers) -> None:
        self._conf = conf
        self._client = client
        self._containers = containers_

    def resize(self, container_uuid: str, cpus: float | None,
               memory_mib: int | None, check_only: bool) -> None:
        """Change the limits that are not None.

        :param check_only: change nothing, but raise what a change would.
        :raises InvalidInput: a limit is too small for any container
        :raises Conflict: it does not fit into the VM, or the container uses
            more memory just now
        """
        cri_config.check_resources(cpus, memory_mib)
        container = self._containers.find(container_uuid)
        if container.state not in (pb.CONTAINER_CREATED,
                                   pb.CONTAINER_RUNNING):
            return  # its next start brings the new limits
        room = guest_client.room(self._conf, container.pod_sandbox_id)
        if room is not None:
            _fit('cpu', cpus, room.cpus, container_uuid)
            _fit('memory', memory_mib, room.memory_mib, container_uuid)
        if memory_mib is not None and container.state == pb.CONTAINER_RUNNING:
            self._refuse_a_kill(container, container_uuid, memory_mib)
        if not check_only:
            self._client.update_container(
                container.id, cri_config.resources(cpus or 0,
                                                   memory_mib or 0))

    def _refuse_a_kill(self, container: pb.Container, container_uuid: str,
                       memory_mib: int) -> None:
        """Refuse a limit for which the kernel would kill the container."""
        used = self._client.container_stats(
            container.id).memory.working_set_bytes.value / units.Mi
        if memory_mib <= used:
            raise exception.Conflict(
                kind='Container', id=container_uuid,
                state=f'using {used:.0f} MiB, more than the new limit of '
                      f'{memory_mib} MiB',
                remedy='Choose a larger limit, or stop the container first.')


def _fit(what: str, asked: float | None, largest: float,
         container_uuid: str) -> None:
    if asked is not None and asked > largest:
        unit = {'cpu': 'CPUs', 'memory': 'MiB'}[what]
        raise exception.Conflict(
            kind='Container', id=container_uuid,
            state=f'running in a VM in which --{what} can be at most '
                  f'{largest:g} {unit}, not {asked:g}', remedy=_STOP)
