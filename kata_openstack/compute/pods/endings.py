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

"""Frees the VM of a pod once all of its containers have ended.

This is the only place that decides it. The event follower reports each
container that ends; the answer always comes from CRI.
"""

from collections.abc import Callable
from concurrent import futures
import threading

from oslo_log import log as logging

from kata_openstack.compute.pods import lifecycle
from kata_openstack.compute.pods import view
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)

# CRI learns of an exit from the same events as we do, and may be later.
_PAUSES = (0.05, 0.5, 2.0)  # seconds before each look


class Endings:
    """Frees VMs in threads of its own until :meth:`stop`."""

    def __init__(self, client: cri.CriClient, pods: lifecycle.Pods,
                 told: Callable[[str], None] = lambda pod_uuid: None) -> None:
        """:param told: called with a pod's UUID as soon as CRI knows that one
            of its containers has ended, and when its VM was stopped
        """
        self._told = told
        self._client = client
        self._pods = pods
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        # pods that a comparison has queued: a stop that hangs must not fill
        # the queue, and hold up all other pods, by one job each minute
        self._queued: set[str] = set()
        self._pool = futures.ThreadPoolExecutor(
            4, thread_name_prefix='endings')

    def container_ended(self, pod_uuid: str, container_id: str) -> None:
        """Free the pod's VM if this was its last container.

        :param container_id: the CRI container whose task has ended, '' for
            the sandbox.
        """
        self._pool.submit(self._free, pod_uuid, container_id)

    def check_all(self) -> None:
        """Free the VM of each pod that ended without an event.

        :raises KataError: if containerd does not answer.
        """
        for pod in view.read_all(self._client).values():
            if not pod.ended:
                continue
            with self._lock:
                if pod.uuid in self._queued:
                    continue
                self._queued.add(pod.uuid)
            self._pool.submit(self._free_queued, pod.uuid)

    def stop(self) -> None:
        """Wait for the VMs that are being freed."""
        self._stopped.set()
        self._pool.shutdown()

    def _free_queued(self, pod_uuid: str) -> None:
        try:
            self._free(pod_uuid)
        finally:
            with self._lock:
                self._queued.discard(pod_uuid)

    def _free(self, pod_uuid: str, container_id: str = '') -> None:
        try:
            told = not container_id
            for number, pause in enumerate(_PAUSES):
                if self._stopped.wait(pause):
                    return
                if not told and self._is_known(pod_uuid, container_id,
                                               patient=not number):
                    told = True
                    self._tell(pod_uuid)
                # a sandbox that is stopped no longer tells that its VM died
                last = number == len(_PAUSES) - 1
                if self._pods.free_if_ended(pod_uuid, container_id,
                                            patient=not last):
                    self._tell(pod_uuid)
                    return
        except Exception as e:  # the pool would drop it without a word
            LOG.warning('The VM of pod %s cannot be freed; the next '
                        'comparison with containerd tries again: %s',
                        pod_uuid, e)

    def _tell(self, pod_uuid: str) -> None:
        try:
            self._told(pod_uuid)
        except Exception as e:  # the VM must be freed nevertheless
            LOG.warning('Nobody was told of the end of a container of pod '
                        '%s: %s', pod_uuid, e)

    def _is_known(self, pod_uuid: str, container_id: str, patient: bool
                  ) -> bool:
        """Return whether CRI knows that a container has ended.

        :param patient: also, whether its VM has ended with it.
        """
        known = all(container.state == pb.CONTAINER_EXITED
                    for container in self._client.list_containers(
                        container_id=container_id))
        return known and not (patient
                              and self._pods.may_have_lost_its_vm(pod_uuid))
