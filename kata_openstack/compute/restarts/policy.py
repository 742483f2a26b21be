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

"""Which containers of a pod the node starts again.

The policy of a container is ``no``, ``always``, ``on-failure`` or
``on-failure:N`` with the most restarts. Each restart is a new CRI container
with the next number, so the count survives kata-compute.
"""

from collections.abc import Iterable

from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import view
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb


def wanted(client: cri.CriClient, found: view.PodView
           ) -> list[pb.ContainerStatus]:
    """Return the current containers that have ended and start again.

    :raises ContainerdUnavailable, RuntimeFailed:
    """
    return [status for container in _candidates(found)
            if (status := _status(client, container))
            and _is_wanted(container, status)]


def _candidates(found: view.PodView) -> Iterable[pb.Container]:
    return [c for c in found.current_containers()
            if c.state == pb.CONTAINER_EXITED
            and not c.annotations.get(labels.INIT)
            and c.annotations.get(labels.RESTART, '') not in ('', 'no')]


def _status(client: cri.CriClient, container: pb.Container
            ) -> pb.ContainerStatus | None:
    try:
        return client.container_status(container.id).status
    except exception.NotFound:
        return None


def _is_wanted(container: pb.Container, status: pb.ContainerStatus) -> bool:
    name, _, most = container.annotations[labels.RESTART].partition(':')
    if name == 'always':
        return True
    return bool(status.exit_code and (
        not most or container.metadata.attempt < int(most)))
