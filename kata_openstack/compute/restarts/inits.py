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

"""Waits for the end of init containers."""

import collections
from collections.abc import Iterator
import contextlib
import threading
import time

from oslo_config import cfg

from kata_openstack.compute.logs import folders
from kata_openstack.compute.logs import reader
from kata_openstack.compute.pods import cri_config
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

_PAUSE = 0.05  # seconds
_LONGEST = 600  # seconds that one may take; it holds up its capsule only
_LINES, _SHOWN = 5, 300  # of the log, in the error: lines and characters


class Inits:
    """Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient) -> None:
        self._conf = conf
        self._client = client
        self._lock = threading.Lock()
        self._given_up: collections.Counter[str] = collections.Counter()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let each wait end."""
        self._stopped.set()

    @contextlib.contextmanager
    def given_up(self, pod_uuid: str) -> Iterator[None]:
        """Let each wait of a pod end, because it is about to be deleted."""
        with self._lock:
            self._given_up[pod_uuid] += 1
        try:
            yield
        finally:
            with self._lock:
                self._given_up -= collections.Counter([pod_uuid])

    def wait(self, pod_uuid: str, container: objects.Container,
             container_id: str) -> None:
        """Wait until an init container has ended.

        :raises Conflict: it ended with an error or takes too long, the pod is
            deleted, or kata-compute stops
        """
        deadline = time.monotonic() + _LONGEST
        while self._runs(container_id):
            with self._lock:
                given_up = self._given_up[pod_uuid]
            if given_up or self._stopped.is_set():
                raise exception.Conflict(
                    kind='Pod', id=pod_uuid, state='being deleted, or '
                    'kata-compute is stopping', remedy='Try again.')
            if time.monotonic() > deadline:
                raise exception.Conflict(
                    kind='Init container', id=container.name,
                    state=f'still running after {_LONGEST} s'
                          f'{self._words(pod_uuid, container)}',
                    remedy='Do long work in an ordinary container.')
            self._stopped.wait(_PAUSE)
        status = self._client.container_status(container_id).status
        if status.exit_code:
            raise exception.Conflict(
                kind='Init container', id=container.name,
                state=f'of no use: it ended with exit code '
                      f'{status.exit_code}{self._words(pod_uuid, container)}',
                remedy='Correct its command, and create the capsule again.')

    def _runs(self, container_id: str) -> bool:
        """:raises KataError:"""
        found = self._client.list_containers(container_id=container_id)
        return bool(found) and found[0].state == pb.CONTAINER_RUNNING

    def _words(self, pod_uuid: str, container: objects.Container) -> str:
        """Return its last output, for the error."""
        try:
            text = reader.read(
                folders.of_pod(self._conf, pod_uuid)
                / cri_config.log_name(container.uuid), stdout=True,
                stderr=True, timestamps=False, tail=_LINES, since=None,
                limit=64 * 1024)
        except OSError:
            return ''
        words = ' '.join(text.split())[-_SHOWN:]
        return f' after "{words}"' if words else ''
