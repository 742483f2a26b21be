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

"""Pods of the embedded runtime, through a containerd of the test's own."""

import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
import time
from typing import Any
import uuid

from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded.common import settings
from tests.functional import containerd
from tests.functional import images
from tests.functional import kata
from tests.unit import base

HANDLER = 'kata-embedded'
RUNTIME = 'io.containerd.kata-embedded.v2'


class Pod:
    """A sandbox and its containers, by CRI."""

    def __init__(self, case: 'EmbeddedTestCase', **linux: Any) -> None:
        self._client = case.client
        self._containerd = case.containerd
        self.name = f'pod-{uuid.uuid4().hex[:8]}'
        self.logs = case.containerd.root / self.name
        self.config = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(
                name=self.name, uid=self.name, namespace='test'),
            hostname=self.name, log_directory=str(self.logs),
            linux=pb.LinuxPodSandboxConfig(**linux))
        self.id = self._client.run_pod_sandbox(self.config, HANDLER)
        self.state_file = pathlib.Path(
            case.settings.sandbox_path(self.id), 'state.json')

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self.state_file.read_text())

    @property
    def address(self) -> str:
        return self._status().status.network.ip

    @property
    def network_namespace(self) -> str:
        """Path of the pod's network namespace on the host."""
        return self._containerd.network_namespace(self.id)

    def _status(self) -> pb.PodSandboxStatusResponse:
        return self._client._runtime.PodSandboxStatus(
            pb.PodSandboxStatusRequest(pod_sandbox_id=self.id, verbose=True))

    def create(self, *command: str, memory: int = 0, mounts: Any = (),
               **more: Any) -> str:
        name = f'c-{uuid.uuid4().hex[:8]}'
        return self._client.create_container(self.id, pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name),
            image=pb.ImageSpec(image=images.BUSYBOX), command=command,
            log_path=f'{name}.log', mounts=mounts,
            linux=pb.LinuxContainerConfig(
                resources=pb.LinuxContainerResources(
                    memory_limit_in_bytes=memory)), **more), self.config)

    def run(self, *command: str, **more: Any) -> str:
        container = self.create(*(command or ('sleep', '1000')), **more)
        self._client.start_container(container)
        return container

    def execute(self, container: str, *command: str) -> str:
        """Standard output of a command that must succeed."""
        done = self._client.exec_sync(container, command, 60)
        if done.exit_code:
            raise AssertionError(f'{command}: {done}')
        return done.stdout.decode()

    def status(self, container: str) -> pb.ContainerStatus:
        return self._client.container_status(container).status

    def wait(self, container: str) -> pb.ContainerStatus:
        """Status of a container once it has exited."""
        deadline = time.monotonic() + 60
        while True:
            found = self.status(container)
            if found.state == pb.CONTAINER_EXITED:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f'it goes on: {found}')
            time.sleep(0.05)

    def log(self, container: str) -> list[tuple[str, str]]:
        """(stream, line) of all that it wrote."""
        path = pathlib.Path(self.status(container).log_path)
        lines = [line.split(' ', 3) for line in path.read_text().splitlines()]
        return [(stream, text) for _, stream, _, text in lines]

    def remove(self) -> None:
        self._client.stop_pod_sandbox(self.id)
        self._client.remove_pod_sandbox(self.id)


class EmbeddedTestCase(base.TestCase):
    """A containerd for each test; the guest image is built only once."""

    def setUp(self) -> None:
        super().setUp()
        handlers = kata.prepared()
        path = str(kata.STATE / 'lib' / 'embedded' / 'embedded.json')
        self.settings = settings.Settings.load(path)
        mine = self.configuration()
        if mine:
            handlers = handlers.replace(path, mine)
        self.containerd = self.useFixture(containerd.Containerd(
            handlers, env={
                'PATH': f'{kata.programs()}:{os.environ["PATH"]}',
                settings.ENVIRONMENT: mine or path}))
        self.client = self.containerd.client

    def configuration(self) -> str:
        """Path of a configuration of the test's own, if it has one."""
        return ''

    def configured(self, folder: str, **changes: Any) -> str:
        """Write a configuration with changes into a folder."""
        path = f'{folder}/embedded.json'
        dataclasses.replace(self.settings, **changes).save(path)
        return path

    def pod(self, **linux: Any) -> Pod:
        return Pod(self, **linux)

    def folder(self) -> pathlib.Path:
        folder = tempfile.TemporaryDirectory(dir=self.containerd.root)
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name)

    def ctr(self, *args: str, **more: Any
            ) -> subprocess.CompletedProcess[bytes]:
        """containerd's own client, for what CRI has not."""
        return subprocess.run(
            ['ctr', '--address', self.containerd.address, '--namespace',
             'k8s.io', *args], capture_output=True, timeout=120, **more)

    def wait_for(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f'it never happened: {what}')
            time.sleep(0.05)
