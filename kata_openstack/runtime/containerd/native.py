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

"""A client of containerd's own API, for operations that CRI lacks."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import json
from typing import Any
import uuid

from google.protobuf import any_pb2
from google.protobuf import empty_pb2
from google.protobuf import field_mask_pb2
import grpc
from oslo_config import cfg

from kata_openstack import exception
from kata_openstack.runtime.containerd import grpc_errors
from kata_openstack.runtime.containerd.protos import containers_pb2
from kata_openstack.runtime.containerd.protos import containers_pb2_grpc
from kata_openstack.runtime.containerd.protos import images_pb2
from kata_openstack.runtime.containerd.protos import images_pb2_grpc
from kata_openstack.runtime.containerd.protos import introspection_pb2
from kata_openstack.runtime.containerd.protos import introspection_pb2_grpc
from kata_openstack.runtime.containerd.protos import leases_pb2
from kata_openstack.runtime.containerd.protos import leases_pb2_grpc
from kata_openstack.runtime.containerd.protos import snapshots_pb2
from kata_openstack.runtime.containerd.protos import snapshots_pb2_grpc
from kata_openstack.runtime.containerd.protos import tasks_pb2
from kata_openstack.runtime.containerd.protos import tasks_pb2_grpc
from kata_openstack.runtime.containerd.protos import types_pb2
from kata_openstack.runtime.containerd.protos import version_pb2_grpc

_STATE_SECONDS = 2


class NativeClient:
    """A client on the channel of a CriClient; thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, channel: grpc.Channel,
                 timeout: float | None = None) -> None:
        """:param timeout: seconds; overrides ``[containerd] timeout``"""
        self._conf = conf.containerd
        self._timeout = timeout or self._conf.timeout
        self._metadata = (('containerd-namespace', conf.containerd.namespace),)
        self._tasks = tasks_pb2_grpc.TasksStub(channel)
        self._snapshots = snapshots_pb2_grpc.SnapshotsStub(channel)
        self._containers = containers_pb2_grpc.ContainersStub(channel)
        self._images = images_pb2_grpc.ImagesStub(channel)
        self._leases = leases_pb2_grpc.LeasesStub(channel)
        self._version = version_pb2_grpc.VersionStub(channel)
        self._introspection = introspection_pb2_grpc.IntrospectionStub(
            channel)

    def _call(self, method: Callable[..., Any], request: Any, operation: str,
              ident: str = '', kind: str = 'Container',
              timeout: float | None = None) -> Any:
        try:
            return method(request, timeout=timeout or self._timeout,
                          metadata=self._metadata)
        except grpc.RpcError as e:
            raise grpc_errors.translate(e, operation, self._conf.address,
                                   kind, ident) from e

    def version(self) -> str:
        """Return containerd's version, such as '1.6.20~ds1'."""
        return self._call(self._version.Version, empty_pb2.Empty(),
                          'Version').version

    def snapshotters(self) -> list[str]:
        """Return the names of the snapshotters that containerd has loaded."""
        plugins = self._call(
            self._introspection.Plugins, introspection_pb2.PluginsRequest(
                filters=['type==io.containerd.snapshotter.v1']),
            'Plugins').plugins
        # containerd also lists snapshotters that failed to load
        return sorted(p.id for p in plugins if not p.HasField('init_err'))

    def kill(self, container_id: str, signal: int) -> None:
        """Send ``signal`` to the container's first process.

        :raises NotFound: it does not exist or does not run
        """
        self._call(self._tasks.Kill, tasks_pb2.KillRequest(
            container_id=container_id, signal=signal), 'Kill', container_id)

    def pause(self, container_id: str) -> None:
        """:raises NotFound: it does not exist or does not run"""
        self._call(self._tasks.Pause, tasks_pb2.PauseTaskRequest(
            container_id=container_id), 'Pause', container_id)

    def resume(self, container_id: str) -> None:
        """:raises NotFound: it does not exist or does not run"""
        self._call(self._tasks.Resume, tasks_pb2.ResumeTaskRequest(
            container_id=container_id), 'Resume', container_id)

    def is_paused(self, container_id: str) -> bool:
        """Return whether a container is paused; CRI does not tell it.

        False if the runtime does not answer within 2 s, so that one shim
        cannot delay the list of all containers for long.
        """
        try:
            found = self._call(
                self._tasks.Get, tasks_pb2.GetRequest(
                    container_id=container_id), 'Get', container_id,
                timeout=_STATE_SECONDS)
        except exception.KataError:
            return False
        return found.process.status in (tasks_pb2.PAUSED, tasks_pb2.PAUSING)

    def metrics(self, container_id: str) -> any_pb2.Any:
        """Return the figures of a container in the form of its runtime.

        :raises NotFound: it does not exist or does not run
        """
        found = self._call(self._tasks.Metrics, tasks_pb2.MetricsRequest(
            filters=[f'id=={container_id}']), 'Metrics', container_id).metrics
        if not found:
            raise exception.NotFound(kind='Container', id=container_id)
        return found[0].data

    def resize(self, container_id: str, rows: int, columns: int) -> None:
        """Set the size of the terminal of the container's first process.

        :raises NotFound: it does not exist or does not run
        """
        self._call(self._tasks.ResizePty, tasks_pb2.ResizePtyRequest(
            container_id=container_id, width=columns, height=rows),
            'ResizePty', container_id)

    def container(self, container_id: str) -> containers_pb2.Container:
        return self._call(
            self._containers.Get,
            containers_pb2.GetContainerRequest(id=container_id),
            'Get', container_id).container

    def containers(self, filters: Sequence[str] = ()
                   ) -> Sequence[containers_pb2.Container]:
        """Return the containers that match any of the filters.

        :param filters: in containerd's syntax; all match if there are none
        """
        return self._call(
            self._containers.List,
            containers_pb2.ListContainersRequest(filters=filters),
            'List').containers

    def spec(self, container_id: str) -> dict[str, Any]:
        """Return the container's OCI runtime specification."""
        return json.loads(self.container(container_id).spec.value or '{}')

    def mounts(self, container_id: str) -> Sequence[types_pb2.Mount]:
        """Return the mounts of the container's root file system."""
        record = self.container(container_id)
        return self._call(
            self._snapshots.Mounts,
            snapshots_pb2.MountsRequest(snapshotter=record.snapshotter,
                                        key=record.snapshot_key),
            'Mounts', container_id).mounts

    @contextlib.contextmanager
    def view(self, chain: str) -> Iterator[Sequence[types_pb2.Mount]]:
        """Enter with the mounts of unpacked layers, read-only.

        :param chain: the chain ID of the layers.
        :raises NotFound: no snapshotter has them.
        """
        key = f'kata-openstack-{uuid.uuid4()}'
        name, mounts = self._view(key, chain)
        try:
            yield mounts
        finally:
            with contextlib.suppress(exception.NotFound):
                self._call(self._snapshots.Remove,
                           snapshots_pb2.RemoveSnapshotRequest(
                               snapshotter=name, key=key),
                           'Remove', key, 'Snapshot')

    def _view(self, key: str, chain: str
              ) -> tuple[str, Sequence[types_pb2.Mount]]:
        for name in self.snapshotters():
            with contextlib.suppress(exception.NotFound):
                return name, self._call(
                    self._snapshots.View, snapshots_pb2.ViewSnapshotRequest(
                        snapshotter=name, key=key, parent=chain),
                    'View', chain, 'Snapshot').mounts
        raise exception.NotFound(kind='Snapshot', id=chain)

    def image(self, name: str) -> images_pb2.Image:
        """Return an image record.

        :param name: of the record: the image's name or its ID
        :raises NotFound: there is none
        """
        return self._call(
            self._images.Get, images_pb2.GetImageRequest(name=name), 'Get',
            name, 'Image').image

    def set_image_label(self, name: str, key: str, value: str) -> None:
        """Set one label of an image record; '' removes the label.

        :raises NotFound: there is no such record
        """
        # containerd ignores the target, but 1.7 and 2.1 crash without it
        self._call(
            self._images.Update, images_pb2.UpdateImageRequest(
                image=images_pb2.Image(name=name, labels={key: value},
                                       target=self.image(name).target),
                update_mask=field_mask_pb2.FieldMask(
                    paths=[f'labels.{key}'])), 'Update', name, 'Image')

    def add_lease(self, labels: dict[str, str]) -> str:
        """Create a lease that does not expire.

        :returns: its ID
        """
        ident = f'kata-openstack-{uuid.uuid4()}'
        self._call(self._leases.Create, leases_pb2.CreateRequest(
            id=ident, labels=labels), 'Create', ident, 'Lease')
        return ident

    def leases(self, label: str) -> dict[str, dict[str, str]]:
        """Return the labels of the leases that have ``label``, by ID."""
        found = self._call(self._leases.List, leases_pb2.ListRequest(
            filters=[f'labels."{label}"']), 'List', kind='Lease').leases
        return {lease.id: dict(lease.labels) for lease in found}

    def remove_lease(self, ident: str) -> None:
        self._call(self._leases.Delete, leases_pb2.DeleteRequest(id=ident),
                   'Delete', ident, 'Lease')
