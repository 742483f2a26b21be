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

"""Starts containers of capsules again after they ended.

Containers of one pod share a VM, so only the node can start one of them
again beside the others. Plain containers are the driver's.
"""

import collections
from collections.abc import Callable
from concurrent import futures
import threading
import time

from oslo_log import log as logging

from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import lifecycle
from kata_openstack.compute.pods import view
from kata_openstack.compute.restarts import policy
from kata_openstack import exception
from kata_openstack import restart_pauses
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)
_THREADS = 16
# of one project: its init containers decide how long a start takes
_PER_PROJECT = 4
_BUSY = 1.0  # seconds until the next attempt to get a thread


class Restarter:
    """Works in threads of its own until :meth:`stop`.

    :param told: called with a pod's UUID after its containers were started
    """

    def __init__(self, client: cri.CriClient, pods: lifecycle.Pods,
                 told: Callable[[str], None]) -> None:
        self._client = client
        self._pods = pods
        self._told = told
        self._lock = threading.Lock()
        self._pauses: dict[str, float] = {}  # by pod
        self._timers: dict[str, threading.Timer] = {}  # by pod
        self._busy: collections.Counter[str] = collections.Counter()
        self._stopped = False
        self._pool = futures.ThreadPoolExecutor(
            _THREADS, thread_name_prefix='restarts')

    def stop(self) -> None:
        """Wait for the starts in progress."""
        with self._lock:
            self._stopped = True
            for timer in self._timers.values():
                timer.cancel()
        self._pool.shutdown()

    def check(self, pod_uuid: str) -> None:
        """Start the containers of a pod again whose policy wants it, later.

        :raises KataError: if containerd does not answer.
        """
        found = view.read(self._client, pod_uuid)
        if found:
            self._check(found)

    def check_all(self) -> None:
        """Look for what ended while nobody followed, such as at a reboot.

        :raises KataError: if containerd does not answer.
        """
        found = view.read_all(self._client)
        with self._lock:
            for uuid in self._pauses.keys() - found.keys():
                del self._pauses[uuid]
        for pod in found.values():
            self._check(pod)

    def _check(self, found: view.PodView) -> None:
        ended = policy.wanted(self._client, found)
        if ended:
            self._later(found.uuid,
                        found.sandbox.labels.get(labels.PROJECT, ''),
                        max(map(_seconds, ended)) >= restart_pauses.STABLE)

    def _later(self, pod_uuid: str, project: str, anew: bool) -> None:
        with self._lock:
            if self._stopped or pod_uuid in self._timers:
                return
            pause = restart_pauses.following(
                0.0 if anew else self._pauses.get(pod_uuid, 0.0))
            self._pauses[pod_uuid] = pause
            self._start_timer(pause, pod_uuid, project)

    def _start_timer(self, pause: float, pod_uuid: str, project: str) -> None:
        timer = threading.Timer(pause, self._submit, (pod_uuid, project))
        timer.daemon = True
        self._timers[pod_uuid] = timer
        timer.start()

    def _submit(self, pod_uuid: str, project: str) -> None:
        with self._lock:
            if self._stopped:
                return
            if self._busy[project] >= _PER_PROJECT:
                self._start_timer(_BUSY, pod_uuid, project)
                return
            self._busy[project] += 1
            self._pool.submit(self._restart, pod_uuid, project)

    def _restart(self, pod_uuid: str, project: str) -> None:
        failed = False
        try:
            self._pods.restart_ended(pod_uuid)
            self._pods.problems.pop(pod_uuid, None)
        except Exception as e:  # the pool would drop it without a word
            self._pods.problems[pod_uuid] = (
                str(e) if isinstance(e, exception.KataError)
                else f'{type(e).__name__} in kata-compute')
            LOG.warning('Cannot restart containers of pod %s: %s', pod_uuid,
                        e)
            failed = True
        finally:
            with self._lock:
                del self._timers[pod_uuid]
                self._busy -= collections.Counter([project])
        self._told(pod_uuid)
        if failed:
            self._later(pod_uuid, project, False)


def _seconds(status: pb.ContainerStatus) -> float:
    """Return how long a container ran."""
    if not status.started_at:
        return 0.0
    return (status.finished_at or time.time_ns()) / 1e9 - (
        status.started_at / 1e9)
