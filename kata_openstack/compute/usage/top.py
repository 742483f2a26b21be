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

"""The processes of a container.

Only the guest knows them. The embedded runtime asks its agent. With another
runtime, a program ``ps`` in the container must tell them.
"""

import time
from typing import Any

from oslo_config import cfg

from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import labels
from kata_openstack.compute.usage import ps
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded import guest_client
from kata_openstack.runtime import pod_memory

_SECONDS = 30  # for a guest under emulation on an overloaded node


class Top:
    """Lists processes. Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 containers_: containers.Containers) -> None:
        self._conf = conf
        self._client = client
        self._containers = containers_

    def get(self, container_uuid: str, arguments: str) -> dict[str, Any]:
        """Return ``Titles`` and ``Processes``, as Docker does.

        :param arguments: of ps, such as ``-ef`` or ``aux``; '' for -ef.
        :raises InvalidInput: for arguments that are not known
        :raises Conflict: if the container does not run, or has no ps
        """
        container = self._containers.running(container_uuid)
        try:
            found = guest_client.call(
                self._conf, container.pod_sandbox_id, 'Processes', _SECONDS,
                container=container.id)
        except guest_client.NoGuestService:
            return self._ask_ps(container, container_uuid, arguments)
        return ps.table(ps.columns(arguments), found['processes'], ps.Moment(
            labels.number(container.annotations, labels.MEMORY_MIB,
                          pod_memory.host_mib()) * 1024, time.time()))

    def _ask_ps(self, container: pb.Container, container_uuid: str,
                arguments: str) -> dict[str, Any]:
        self._containers.refuse_paused(container)
        words = arguments.split() or ['-ef']
        try:
            done = self._client.exec_sync(container.id, ['ps', *words],
                                          _SECONDS)
        except exception.RuntimeFailed as e:
            raise self._no_ps(container_uuid, str(e)) from e
        lines = done.stdout.decode('utf-8', 'replace').splitlines()
        if done.exit_code or not lines:
            raise self._no_ps(
                container_uuid, done.stderr.decode('utf-8', 'replace').strip()
                or f'exit code {done.exit_code}')
        titles = lines[0].split()
        return {'Titles': titles,
                'Processes': [line.split(None, len(titles) - 1)
                              for line in lines[1:]]}

    @staticmethod
    def _no_ps(container_uuid: str, why: str) -> exception.Conflict:
        return exception.Conflict(
            kind='Container', id=container_uuid,
            state='of a runtime that cannot list processes, and its own '
                  f'program ps failed: {why[:500]}',
            remedy='Use an image that contains ps.')
