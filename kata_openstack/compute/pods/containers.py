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

"""Single containers: signals, exec, logs and statistics."""

import re
import signal as signals
import time
from typing import Any

from oslo_config import cfg
from oslo_utils import units

from kata_openstack.compute.logs import folders
from kata_openstack.compute.logs import reader
from kata_openstack.compute.pods import cri_config
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import start_error
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

_KILL_WAIT = 10  # seconds, as in Docker
# The exit code of shells and Docker for a command that does not exist.
_NOT_FOUND = 127


def signal_number(name: str) -> int:
    """Return a signal's number: 9 for '9', 'KILL', 'SIGKILL', 'sigkill'.

    Real-time signals are named as in Docker, for example SIGRTMIN+3, which
    stops systemd.

    :raises InvalidInput: for an unknown signal
    """
    text = name.strip().upper()
    if re.fullmatch(r'[0-9]{1,3}', text) and 1 <= int(text) <= 64:
        return int(text)
    full = text if text.startswith('SIG') else f'SIG{text}'
    found = re.fullmatch(r'SIGRT(MIN\+|MAX-)([0-9]{1,2})', full)
    if found and int(found[2]) <= signals.SIGRTMAX - signals.SIGRTMIN:
        return (signals.SIGRTMIN + int(found[2]) if found[1] == 'MIN+'
                else signals.SIGRTMAX - int(found[2]))
    try:
        return int(signals.Signals[full])
    except KeyError:
        raise exception.InvalidInput(
            field='signal', value=name[:32], why='unknown signal',
            remedy='Use a name such as SIGTERM, or a number from 1 to 64.'
        ) from None


def _not_running(container_uuid: str) -> exception.Conflict:
    return exception.Conflict(
        kind='Container', id=container_uuid, state='not running',
        remedy='Start the container first.')


class Containers:
    """Operations on single containers. Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 native_: native.NativeClient) -> None:
        self._conf = conf
        self._client = client
        self._native = native_

    def find(self, container_uuid: str) -> pb.Container:
        """:raises NotFound: if the container is not on this node"""
        found = self._client.list_containers(
            {labels.CONTAINER: container_uuid})
        if not found:
            raise exception.NotFound(kind='Container', id=container_uuid)
        return max(found, key=lambda c: c.created_at)

    def running(self, container_uuid: str) -> pb.Container:
        """Return a container that runs, or is paused.

        :raises NotFound: if the container is not on this node
        :raises Conflict: if the container does not run
        """
        container = self.find(container_uuid)
        if container.state != pb.CONTAINER_RUNNING:
            raise _not_running(container_uuid)
        return container

    def refuse_paused(self, container: pb.Container) -> None:
        """Refuse to run a command that would wait until the unpause.

        :raises Conflict:
        """
        if self._native.is_paused(container.id):
            raise exception.Conflict(
                kind='Container', id=container.labels[labels.CONTAINER],
                state='paused', remedy='Unpause the container first: '
                'openstack appcontainer unpause.')

    def pause(self, container_uuid: str, paused: bool) -> None:
        """Stop all processes of a container where they are, or go on.

        Does nothing to a container that is in the wanted state already.

        :raises Conflict: if the container does not run
        """
        container_id = self.running(container_uuid).id
        if self._native.is_paused(container_id) == paused:
            return
        try:
            if paused:
                self._native.pause(container_id)
            else:
                self._native.resume(container_id)
        except exception.NotFound:  # it ended just now
            raise _not_running(container_uuid) from None

    def kill(self, container_uuid: str, signal: str) -> None:
        """Send a signal; as in Docker, wait for the end only after SIGKILL.

        :raises InvalidInput: if the signal is unknown
        :raises Conflict: if the container does not run
        """
        number = signal_number(signal)
        container_id = self.running(container_uuid).id
        try:
            self._native.kill(container_id, number)
        except exception.NotFound:  # it ended just now
            raise _not_running(container_uuid) from None
        deadline = time.monotonic() + _KILL_WAIT
        while number == signals.SIGKILL and time.monotonic() < deadline:
            found = self._client.list_containers(container_id=container_id)
            if not found or found[0].state != pb.CONTAINER_RUNNING:
                break
            time.sleep(0.05)

    def resize(self, container_uuid: str, height: int, width: int) -> None:
        """Set the size of the terminal of a container's first process.

        :raises Conflict: if the container does not run
        """
        container_id = self.running(container_uuid).id
        if not height or not width:
            return
        try:
            self._native.resize(container_id, height, width)
        except exception.NotFound:  # it ended just now
            raise _not_running(container_uuid) from None

    def logs(self, container_uuid: str, *, stdout: bool, stderr: bool,
             timestamps: bool, tail: int | None,
             since: float | None) -> str:
        container = self.find(container_uuid)
        folder = folders.of_pod(self._conf, container.labels[labels.POD])
        return reader.read(
            folder / cri_config.log_name(container_uuid), stdout=stdout,
            stderr=stderr, timestamps=timestamps, tail=tail, since=since,
            limit=self._conf.compute.max_log_response_mib * units.Mi)

    def exec_sync(self, container_uuid: str, command: list[str],
                  timeout: int) -> dict[str, Any]:
        """Run a command in a container and wait for its end.

        :returns: {'output': standard output, then standard error;
            'exit_code'}
        """
        container = self.running(container_uuid)
        self.refuse_paused(container)
        try:
            done = self._client.exec_sync(container.id, command, timeout)
        except exception.RuntimeFailed as e:
            missing = start_error.missing_command(str(e))
            if missing is None:
                raise
            name = missing or (command or [''])[0]
            return {'output': f'{name}: command not found\n',
                    'exit_code': _NOT_FOUND}
        limit = self._conf.compute.max_exec_output_mib * units.Mi
        output = (done.stdout + done.stderr)[:limit]
        return {'output': output.decode('utf-8', 'replace'),
                'exit_code': done.exit_code}
