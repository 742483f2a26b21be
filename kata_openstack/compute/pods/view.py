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

"""Reads one pod, or all pods, from containerd. Nothing is cached."""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import json
import re

from oslo_log import log as logging

from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack import stored

LOG = logging.getLogger(__name__)

_UUID = re.compile(r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}')
_STATES = {pb.CONTAINER_CREATED: 'created', pb.CONTAINER_RUNNING: 'running',
           pb.CONTAINER_EXITED: 'exited'}
# Exit codes of containers whose VM ended by itself: of this project's shim,
# and of upstream's (exitCode255 in src/runtime/pkg/containerd-shim-v2)
_LOST_CODES = (137, 255)
_LOST = ('The virtual machine of the container ended by itself. Start the '
         'container again. If this repeats, ask the operator to look into '
         'the log of containerd on the host.')


@dataclasses.dataclass
class PodView:
    """Sandboxes and CRI containers of a pod, in the order of creation.

    A pod has more than one sandbox, or a container more than one CRI
    container, only while a stopped pod is started again, or after
    kata-compute died during that.
    """

    uuid: str
    sandboxes: list[pb.PodSandbox] = dataclasses.field(default_factory=list)
    containers: list[pb.Container] = dataclasses.field(default_factory=list)

    @property
    def sandbox(self) -> pb.PodSandbox:
        return self.sandboxes[-1]

    @property
    def ready(self) -> bool:
        return self.sandbox.state == pb.SANDBOX_READY

    @property
    def ended(self) -> bool:
        """Whether a VM runs although all of its containers have ended."""
        containers = self.current_containers()
        return self.ready and bool(containers) and all(
            c.state == pb.CONTAINER_EXITED for c in containers)

    def current_containers(self) -> list[pb.Container]:
        """Return each container's newest CRI container, in pod order."""
        newest: dict[str, pb.Container] = {}
        for container in self.containers:
            newest[container.labels.get(labels.CONTAINER, '')] = container
        return list(newest.values())


@dataclasses.dataclass(frozen=True)
class Vifs:
    """The VIFs of a sandbox, from its annotation.

    ``readable``: those that this release can read. ``port_ids``: the port of
    each VIF, also of those that are not readable; it may have other UUIDs.
    """

    readable: list[objects.Vif]
    port_ids: set[str]
    complete: bool


def vifs(sandbox: pb.PodSandbox) -> Vifs:
    """Read the VIFs of a sandbox. Never raises.

    Another release may have written the annotation. A pod whose VIFs cannot
    be read must still be deleted, and must not affect other pods.
    """
    text = sandbox.annotations.get(labels.VIFS) or '[]'
    readable, errors = [], []
    try:
        items = json.loads(text)
        if not isinstance(items, list):
            raise ValueError('it is not a list')
    except (ValueError, RecursionError) as e:
        items, errors = [], [e]
    for item in items:
        try:
            readable.append(stored.load(objects.Vif, item))
        except ValueError as e:
            errors.append(e)
    port_ids = {vif.port_id for vif in readable}
    if errors:
        LOG.warning('Cannot read all network interfaces of pod %s from its '
                    'sandbox %s: %s', sandbox.labels.get(labels.POD),
                    sandbox.id, '; '.join(map(str, errors)))
        port_ids.update(_UUID.findall(text))
    return Vifs(readable, port_ids, not errors)


def read(client: cri.CriClient, pod_uuid: str) -> PodView | None:
    """Return a pod; None if containerd does not have it."""
    selector = {labels.POD: pod_uuid}
    found = group(client.list_pod_sandboxes(selector),
                  client.list_containers(selector))
    return found.get(pod_uuid)


def read_all(client: cri.CriClient) -> dict[str, PodView]:
    return group(client.list_pod_sandboxes(), client.list_containers())


def group(sandboxes: Sequence[pb.PodSandbox],
          containers: Iterable[pb.Container]) -> dict[str, PodView]:
    """Return the pods by UUID.

    Ignores objects without our labels, and containers without a sandbox.
    """
    views: dict[str, PodView] = {}
    for sandbox in sorted(sandboxes, key=lambda s: s.created_at):
        uuid = sandbox.labels.get(labels.POD)
        if uuid:
            views.setdefault(uuid, PodView(uuid)).sandboxes.append(sandbox)
    for container in sorted(containers, key=lambda c: c.created_at):
        view = views.get(container.labels.get(labels.POD, ''))
        if view and container.labels.get(labels.CONTAINER):
            view.containers.append(container)
    return views


def container_status(client: cri.CriClient, container: pb.Container
                     ) -> objects.ContainerStatus:
    """Return a container's status.

    Asks containerd for the details that its list lacks.
    """
    status = objects.ContainerStatus(
        uuid=container.labels[labels.CONTAINER],
        name=container.annotations.get(labels.NAME, ''),
        container_id=container.id,
        state=_STATES.get(container.state, 'unknown'),
        image=container.annotations.get(labels.IMAGE, ''))
    if container.state == pb.CONTAINER_CREATED:
        return status
    try:
        full = client.container_status(container.id).status
    except exception.NotFound:  # deleted since it was listed
        return dataclasses.replace(status, state='unknown')
    except exception.RuntimeFailed as e:  # the other pods must be listed
        LOG.warning('Cannot read the state of container %s: %s',
                    status.uuid, e)
        return dataclasses.replace(status, state='unknown')
    status.state = _STATES.get(full.state, 'unknown')
    status.started_at = _seconds(full.started_at)
    if full.state == pb.CONTAINER_EXITED:
        status.finished_at = _seconds(full.finished_at)
        status.exit_code = full.exit_code
        status.reason = full.reason
        status.message = full.message
    return status


def pod_status(client: cri.CriClient, view: PodView) -> objects.PodStatus:
    sandbox = view.sandbox
    return objects.PodStatus(
        uuid=view.uuid,
        kind=sandbox.labels.get(labels.KIND, ''),
        sandbox_id=sandbox.id,
        ready=view.ready,
        handler=sandbox.runtime_handler,
        handler_reason=sandbox.annotations.get(labels.HANDLER_REASON, ''),
        accelerator=sandbox.annotations.get(labels.ACCELERATOR, ''),
        hostname=sandbox.annotations.get(labels.HOSTNAME, ''),
        created_at=_seconds(sandbox.created_at),
        containers=[container_status(client, c)
                    for c in view.current_containers()])


def lost(view: PodView, status: objects.PodStatus
         ) -> list[objects.ContainerStatus]:
    """Return the containers whose VM may have ended by itself."""
    return [] if view.ready else unexplained(status)


def unexplained(status: objects.PodStatus) -> list[objects.ContainerStatus]:
    """Return the containers that ended as if their VM had."""
    return [
        c for c in status.containers if c.state == 'exited' and not c.message
        and c.reason != 'OOMKilled' and c.exit_code in _LOST_CODES]


def explain(client: cri.CriClient, view: PodView,
            containers: Iterable[objects.ContainerStatus]) -> None:
    """Write into their messages that the VM ended by itself, if it did.

    The caller holds the lock of the pod, so that no stop is in progress.

    :param containers: of :func:`lost`
    """
    try:
        by_itself = client.holds_network(view.sandbox.id)
    except exception.KataError as e:
        LOG.warning('Cannot read the state of sandbox %s: %s',
                    view.sandbox.id, e)
        return
    if by_itself:
        for container in containers:
            container.message = _LOST


def _seconds(nanoseconds: int) -> float | None:
    """Convert nanoseconds to seconds; in CRI, 0 means never."""
    return nanoseconds / 1e9 if nanoseconds > 0 else None
