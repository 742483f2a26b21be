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

"""A thin client of CRI v1: one method for each call.

Arguments and results are the generated messages of :mod:`.protos.cri_pb2`.
Every method can raise ContainerdUnavailable, NotFound or RuntimeFailed.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
from typing import Any

import grpc
from oslo_config import cfg

from kata_openstack import exception
from kata_openstack.runtime.containerd import grpc_channel as channel_mod
from kata_openstack.runtime.containerd import grpc_errors
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.containerd.protos import cri_pb2_grpc

_WATCH_SECONDS = 0.2
_SNAPSHOTTER = '/io.containerd.snapshotter.v1.'


def watched(method: Any, watch: Callable[[], None]) -> Callable[..., Any]:
    """Return a method that calls ``watch`` five times a second.

    If that raises, the call is canceled.

    :param method: of a stub on a channel without patience
    """
    def call(request: Any, **options: Any) -> Any:
        future = method.future(request, **options)
        try:
            while True:
                try:
                    return future.result(_WATCH_SECONDS)
                except grpc.FutureTimeoutError:
                    watch()
        finally:
            future.cancel()  # does nothing after the end

    return call


class CriClient:
    """CRI's runtime and image services on one channel; thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts,
                 channel: grpc.Channel | None = None,
                 timeout: float | None = None) -> None:
        """:param conf: has the group [containerd] registered

        :param timeout: seconds; overrides ``[containerd] timeout``
        """
        self._conf = conf.containerd
        self._timeout = timeout or self._conf.timeout
        self.address: str = self._conf.address
        self.channel = channel or channel_mod.connect(self.address)
        self._runtime = cri_pb2_grpc.RuntimeServiceStub(self.channel)
        self._images = cri_pb2_grpc.ImageServiceStub(self.channel)
        # A call of a patient channel cannot be canceled.
        self.plain_channel = channel_mod.connect(self.address, patience=0)
        self._pulls = cri_pb2_grpc.ImageServiceStub(self.plain_channel)

    def close(self) -> None:
        self.channel.close()
        self.plain_channel.close()

    def _call(self, method: Callable[..., Any], request: Any, *,
              kind: str = 'Sandbox', ident: str = '',
              timeout: float | None = None) -> Any:
        try:
            return method(request, timeout=timeout or self._timeout)
        except grpc.RpcError as e:
            operation = type(request).__name__.removesuffix('Request')
            raise grpc_errors.translate(e, operation, self.address,
                                   kind, ident) from e

    # The runtime itself

    def version(self) -> pb.VersionResponse:
        return self._call(self._runtime.Version, pb.VersionRequest())

    def status(self, verbose: bool = False) -> pb.StatusResponse:
        return self._call(self._runtime.Status,
                          pb.StatusRequest(verbose=verbose))

    def handlers(self) -> set[str]:
        """Return the names of the runtime handlers in containerd."""
        info = self.status(verbose=True).info
        config = json.loads(info.get('config') or '{}')
        return set((config.get('containerd') or {}).get('runtimes') or {})

    def root(self) -> pathlib.Path:
        """Return the folder in which containerd keeps all its data.

        :raises RuntimeFailed: if containerd does not tell it
        """
        config = json.loads(self.status(verbose=True).info.get('config')
                            or '{}')
        path = config.get('containerdRootDir')
        if not path:
            raise exception.RuntimeFailed(
                operation='Status', why='it does not name the root folder '
                'of containerd')
        return pathlib.Path(path)

    # Sandboxes

    def run_pod_sandbox(self, config: pb.PodSandboxConfig,
                        handler: str) -> str:
        """:returns: the new sandbox's id"""
        return self._call(
            self._runtime.RunPodSandbox,
            pb.RunPodSandboxRequest(config=config, runtime_handler=handler),
            ident=config.metadata.uid,
            timeout=self._conf.sandbox_timeout).pod_sandbox_id

    def stop_pod_sandbox(self, sandbox_id: str) -> None:
        """Kill its containers, stop the VM, release the network. Idempotent.

        The sandbox and its containers remain, with their files.
        """
        self._call(self._runtime.StopPodSandbox,
                   pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id),
                   ident=sandbox_id, timeout=self._conf.sandbox_timeout)

    def remove_pod_sandbox(self, sandbox_id: str) -> None:
        """Remove a sandbox and its containers; an unknown id is no error."""
        self._call(self._runtime.RemovePodSandbox,
                   pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id),
                   ident=sandbox_id, timeout=self._conf.sandbox_timeout)

    def list_pod_sandboxes(self, labels: Mapping[str, str] | None = None,
                           sandbox_id: str = '') -> Sequence[pb.PodSandbox]:
        """Return the sandboxes that have all of ``labels``."""
        return self._call(
            self._runtime.ListPodSandbox,
            pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(
                id=sandbox_id, label_selector=labels))).items

    def holds_network(self, sandbox_id: str) -> bool:
        """Return whether the sandbox has its network namespace.

        containerd takes it away when it stops a sandbox, and leaves it if
        the sandbox ends by itself.

        :raises NotFound:
        """
        return self.sandbox_info(
            sandbox_id).get('netNamespaceClosed') is False

    def sandbox_info(self, sandbox_id: str) -> dict[str, Any]:
        """Return what containerd tells of a sandbox for debugging.

        :raises NotFound:
        """
        response = self._call(
            self._runtime.PodSandboxStatus,
            pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id,
                                       verbose=True),
            ident=sandbox_id)
        return json.loads(response.info.get('info') or '{}')

    # Containers

    def create_container(self, sandbox_id: str, config: pb.ContainerConfig,
                         sandbox_config: pb.PodSandboxConfig) -> str:
        """:returns: the new container's id"""
        return self._call(
            self._runtime.CreateContainer,
            pb.CreateContainerRequest(
                pod_sandbox_id=sandbox_id, config=config,
                sandbox_config=sandbox_config),
            ident=sandbox_id,
            timeout=self._conf.sandbox_timeout).container_id

    def start_container(self, container_id: str) -> None:
        self._call(self._runtime.StartContainer,
                   pb.StartContainerRequest(container_id=container_id),
                   kind='Container', ident=container_id,
                   timeout=self._conf.sandbox_timeout)

    def stop_container(self, container_id: str, grace: int) -> None:
        """Send SIGTERM or the image's signal; SIGKILL after ``grace`` s."""
        self._call(self._runtime.StopContainer,
                   pb.StopContainerRequest(container_id=container_id,
                                           timeout=grace),
                   kind='Container', ident=container_id,
                   timeout=self._conf.sandbox_timeout + grace)

    def reopen_log(self, container_id: str, timeout: float | None = None
                   ) -> None:
        """Make containerd open a new log file, after the old was renamed.

        :param timeout: seconds; default: ``[containerd] timeout``
        """
        self._call(self._runtime.ReopenContainerLog,
                   pb.ReopenContainerLogRequest(container_id=container_id),
                   kind='Container', ident=container_id, timeout=timeout)

    def remove_container(self, container_id: str) -> None:
        """Remove a container, killing it first; an unknown id is no error."""
        self._call(self._runtime.RemoveContainer,
                   pb.RemoveContainerRequest(container_id=container_id),
                   kind='Container', ident=container_id,
                   timeout=self._conf.sandbox_timeout)

    def list_containers(self, labels: Mapping[str, str] | None = None,
                        sandbox_id: str = '', container_id: str = ''
                        ) -> Sequence[pb.Container]:
        """Return the containers that have all of ``labels``."""
        return self._call(
            self._runtime.ListContainers,
            pb.ListContainersRequest(filter=pb.ContainerFilter(
                id=container_id, pod_sandbox_id=sandbox_id,
                label_selector=labels))).containers

    def container_status(self, container_id: str, verbose: bool = False
                         ) -> pb.ContainerStatusResponse:
        return self._call(
            self._runtime.ContainerStatus,
            pb.ContainerStatusRequest(container_id=container_id,
                                      verbose=verbose),
            kind='Container', ident=container_id)

    def container_info(self, container_id: str) -> dict[str, Any]:
        """Return what containerd tells of a container for debugging.

        :raises NotFound:
        """
        info = self.container_status(container_id, verbose=True).info
        return json.loads(info.get('info') or '{}')

    def exec_sync(self, container_id: str, command: Sequence[str],
                  timeout: int = 0) -> pb.ExecSyncResponse:
        """Run ``command`` and wait until it ends.

        :param timeout: seconds until containerd kills it; 0: no limit, but
            the call fails after a day
        """
        limit = timeout + self._conf.timeout if timeout else 24 * 3600
        return self._call(
            self._runtime.ExecSync,
            pb.ExecSyncRequest(container_id=container_id, cmd=command,
                               timeout=timeout),
            kind='Container', ident=container_id, timeout=limit)

    def update_container(self, container_id: str,
                         resources: pb.LinuxContainerResources) -> None:
        """Change the limits of a container that runs, or will start."""
        self._call(self._runtime.UpdateContainerResources,
                   pb.UpdateContainerResourcesRequest(
                       container_id=container_id, linux=resources),
                   kind='Container', ident=container_id)

    def attach(self, container_id: str, terminal: bool) -> str:
        """Return the URL of the streams of a container's first process.

        It holds a secret, which serves one connection of the next minute.
        """
        return self._call(
            self._runtime.Attach,
            pb.AttachRequest(container_id=container_id, stdin=True,
                             tty=terminal, stdout=True, stderr=not terminal),
            kind='Container', ident=container_id).url

    def container_stats(self, container_id: str) -> pb.ContainerStats:
        return self._call(
            self._runtime.ContainerStats,
            pb.ContainerStatsRequest(container_id=container_id),
            kind='Container', ident=container_id).stats

    # Images

    def pull_image(self, reference: str, auth: pb.AuthConfig | None = None,
                   watch: Callable[[], None] = lambda: None) -> str:
        """Pull an image.

        :param watch: called five times a second. If it raises, the pull
            ends, and containerd removes what it has of the image.
        :returns: the image's id
        """
        return self._call(
            watched(self._pulls.PullImage, watch),
            pb.PullImageRequest(image=pb.ImageSpec(image=reference),
                                auth=auth),
            kind='Image', ident=reference,
            timeout=self._conf.pull_timeout).image_ref

    def image_status(self, reference: str, verbose: bool = False
                     ) -> pb.ImageStatusResponse:
        """Return the status; its ``image`` is unset for an unknown image."""
        return self._call(
            self._images.ImageStatus,
            pb.ImageStatusRequest(image=pb.ImageSpec(image=reference),
                                  verbose=verbose),
            kind='Image', ident=reference)

    def list_images(self) -> Sequence[pb.Image]:
        return self._call(self._images.ListImages, pb.ListImagesRequest(),
                          kind='Image').images

    def remove_image(self, reference: str) -> None:
        """Remove an image; an unknown one is no error."""
        self._call(self._images.RemoveImage,
                   pb.RemoveImageRequest(image=pb.ImageSpec(image=reference)),
                   kind='Image', ident=reference)

    def snapshotter(self) -> str:
        """Return the snapshotter that pulls unpack images into.

        :raises RuntimeFailed: if containerd does not tell it
        """
        found = self._call(self._images.ImageFsInfo, pb.ImageFsInfoRequest(),
                           kind='Image').image_filesystems
        # the first one is the default of the CRI plugin
        path = found[0].fs_id.mountpoint if found else ''
        _, known, name = path.rpartition(_SNAPSHOTTER)
        if not known:
            config = json.loads(self.status(verbose=True).info.get('config')
                                or '{}')
            name = (config.get('containerd') or {}).get('snapshotter') or ''
        if not name:
            raise exception.RuntimeFailed(
                operation='ImageFsInfo', why='it does not tell the '
                f'snapshotter of images (it has {path!r})')
        return name
