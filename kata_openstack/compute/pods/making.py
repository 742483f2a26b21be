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

"""Makes the sandboxes and containers of pods in containerd.

:mod:`.lifecycle` decides when; it holds the lock of the pod.
"""

from concurrent import futures
import dataclasses
import time
from typing import Any

from oslo_config import cfg

from kata_openstack.compute.images import store
from kata_openstack.compute import lanes
from kata_openstack.compute.logs import folders
from kata_openstack.compute.network import plugging
from kata_openstack.compute.pods import cri_config
from kata_openstack.compute.pods import disks
from kata_openstack.compute.pods import hosts_file
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import replacement
from kata_openstack.compute.pods import start_error
from kata_openstack.compute.pods import view
from kata_openstack.compute.pods import volumes
from kata_openstack import exception
from kata_openstack.notifications import emitter
from kata_openstack import objects
from kata_openstack import request_context
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import node


class Maker:
    """Makes sandboxes and containers, with their disks and networks."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 images_: store.Images, network_: plugging.Network,
                 disks_: disks.Disks, emitter_: emitter.Emitter) -> None:
        self._conf = conf
        self._client = client
        self._images = images_
        self._network = network_
        self._disks = disks_
        self._emitter = emitter_
        self._starts = lanes.Slots(conf.compute.max_concurrent_starts)

    def image(self, container: objects.Container, project: str) -> str:
        """:raises ImageNotFound, InvalidInput:"""
        image_id, paths = self._images.resolve(container.image, project)
        volumes.check(container.image, paths)
        return image_id

    def create(self, pod: objects.Pod, choice: node.Choice,
               image_ids: dict[str, str]) -> None:
        """Create a pod's sandbox, and its containers in it.

        :param image_ids: by the containers' UUIDs
        """
        self._disks.remove(pod.uuid)  # of an incomplete deletion
        self._disks.check(pod)
        # the VM boots meanwhile
        with futures.ThreadPoolExecutor(1) as pool:
            disks_made = pool.submit(
                request_context.carried(self._disks.make), pod)
            sandbox_id, config = self.run_sandbox(pod, choice, attempt=0)
        disks_made.result()
        for container in pod.containers:
            container_id = self._client.create_container(
                sandbox_id, self._container_config(
                    pod, container, image_ids[container.uuid],
                    choice.handler, attempt=0), config)
            if container.disk_gib:
                self._disks.attach(pod.uuid, container.uuid, container_id)

    def run_sandbox(self, pod: objects.Pod, choice: node.Choice,
                    attempt: int) -> tuple[str, pb.PodSandboxConfig]:
        """Start a sandbox; return its ID and its configuration."""
        folder = folders.of_pod(self._conf, pod.uuid)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        hosts_file.write(folder, pod)
        config = cri_config.sandbox_config(pod, choice, str(folder), attempt)
        with (self._starts.take(pod.project_id),
              self._network.expect(pod.uuid, pod.vifs)):
            sandbox_id = self._client.run_pod_sandbox(config, choice.handler)
        return sandbox_id, config

    def config_of(self, pod: objects.Pod, sandbox: pb.PodSandbox
                  ) -> pb.PodSandboxConfig:
        """Return the sandbox's configuration, for CreateContainer.

        containerd reads only the log folder from it.
        """
        return pb.PodSandboxConfig(
            metadata=sandbox.metadata, labels=sandbox.labels,
            annotations=sandbox.annotations,
            log_directory=str(folders.of_pod(self._conf, pod.uuid)))

    def settled(self, pod: objects.Pod, container: objects.Container,
                found: view.PodView, replaced: replacement.Replacement
                ) -> pb.Container:
        """Return a container's newest CRI container, which has its files.

        :raises NotFound: if there is none
        """
        siblings = [c for c in found.containers
                    if c.labels.get(labels.CONTAINER) == container.uuid]
        if not siblings:
            raise exception.NotFound(kind='Container', id=container.uuid)
        current = siblings[-1]
        if _disk_gib(current):  # the hand-over needs what is behind its links
            self._disks.mount(pod.uuid, container.uuid)
        replaced.settle(siblings)
        if _disk_gib(current) and current.state != pb.CONTAINER_RUNNING:
            self._disks.attach(pod.uuid, container.uuid, current.id)
        return current

    def replace(self, pod: objects.Pod, container: objects.Container,
                old: pb.Container, sandbox_id: str,
                config: pb.PodSandboxConfig, handler: str,
                replaced: replacement.Replacement) -> str:
        """Replace a stopped CRI container; return the new one's ID.

        The new one has the files of the old one.
        """
        # It keeps the disk of its creation, which has its files.
        container = dataclasses.replace(container, disk_gib=_disk_gib(old))
        new_id = self._client.create_container(
            sandbox_id, self._container_config(
                pod, container, old.image_ref, handler,
                old.metadata.attempt + 1), config)
        if _disk_gib(old):
            self._disks.attach(pod.uuid, container.uuid, new_id)
        replaced.add(old.id, new_id)
        return new_id

    def start(self, pod: objects.Pod, container: objects.Container,
              container_id: str) -> None:
        """Start a CRI container.

        :raises CommandNotFound: if the image does not have the command
        """
        try:
            self._client.start_container(container_id)
        except exception.KataError as e:
            command = [*(container.entrypoint or []),
                       *(container.command or [])] or ['(image default)']
            refined = start_error.refine(e, command[0], container.image)
            self._emitter.container(
                'container.start.error', time.time(), uuid=container.uuid,
                container_id=container_id, image=container.image,
                handler=None, fault=emitter.fault(refined),
                **identity(pod))
            raise refined from e

    def _container_config(self, pod: objects.Pod,
                          container: objects.Container, image_id: str,
                          handler: str, attempt: int) -> pb.ContainerConfig:
        return cri_config.container_config(
            pod, container, image_id, handler, attempt,
            hosts_file.of_pod(folders.of_pod(self._conf, pod.uuid), pod))


def identity(pod: objects.Pod) -> dict[str, Any]:
    """Return the IDs of a pod and its owner, for notifications."""
    return {'pod_uuid': pod.uuid, 'kind': pod.kind,
            'project_id': pod.project_id, 'user_id': pod.user_id}


def _disk_gib(container: pb.Container) -> int:
    return labels.number(container.annotations, labels.DISK_GIB)
