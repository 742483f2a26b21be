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
from collections.abc import Sequence
from typing import Any

from google.protobuf import empty_pb2
import grpc
from oslo_config import cfg

from kata_openstack.runtime.containerd import grpc_errors
from kata_openstack.runtime.containerd.protos import containers_pb2
from kata_openstack.runtime.containerd.protos import containers_pb2_grpc
from kata_openstack.runtime.containerd.protos import introspection_pb2
from kata_openstack.runtime.containerd.protos import introspection_pb2_grpc
from kata_openstack.runtime.containerd.protos import snapshots_pb2
from kata_openstack.runtime.containerd.protos import snapshots_pb2_grpc
from kata_openstack.runtime.containerd.protos import tasks_pb2
from kata_openstack.runtime.containerd.protos import tasks_pb2_grpc
from kata_openstack.runtime.containerd.protos import types_pb2
from kata_openstack.runtime.containerd.protos import version_pb2_grpc


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
        self._version = version_pb2_grpc.VersionStub(channel)
        self._introspection = introspection_pb2_grpc.IntrospectionStub(
            channel)

    def _call(self, method: Callable[..., Any], request: Any, operation: str,
              ident: str = '') -> Any:
        try:
            return method(request, timeout=self._timeout,
                          metadata=self._metadata)
        except grpc.RpcError as e:
            raise grpc_errors.translate(e, operation, self._conf.address,
                                   'Container', ident) from e

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

    def mounts(self, container_id: str) -> Sequence[types_pb2.Mount]:
        """Return the mounts of the container's root file system."""
        record = self.container(container_id)
        return self._call(
            self._snapshots.Mounts,
            snapshots_pb2.MountsRequest(snapshotter=record.snapshotter,
                                        key=record.snapshot_key),
            'Mounts', container_id).mounts
