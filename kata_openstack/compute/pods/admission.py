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

"""Admits pods only while the node has the memory that they may use.

A pod costs the memory of its VM and the overhead of its processes on the
host. A guest can use all of it at any time, so it is never promised twice.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import threading

from oslo_config import cfg

from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import pod_memory

# The default VM of a pod that an older release made, with its overhead.
_UNKNOWN_MIB = 576


class Admission:
    """Thread-safe. Sandboxes that run are counted anew each time."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient) -> None:
        self._conf = conf
        self._client = client
        self._lock = threading.Lock()
        self._starting: dict[str, int] = {}  # MiB by the UUID of the pod

    @contextlib.contextmanager
    def admit(self, pod_uuid: str, cost_mib: int) -> Iterator[None]:
        """Hold the memory of a pod until its sandbox runs.

        :raises NotEnoughMemory: the pod is larger than the node allows.
        :raises NodeFull: other pods use the memory.
        """
        limit = pod_memory.for_pods_mib(self._conf)
        if cost_mib > limit:
            raise exception.NotEnoughMemory(asked_mib=cost_mib,
                                            limit_mib=limit)
        with self._lock:
            others = {**used_mib(self._client.list_pod_sandboxes()),
                      **self._starting}
            others.pop(pod_uuid, None)
            used = sum(others.values())
            if used + cost_mib > limit:
                raise exception.NodeFull(asked_mib=cost_mib,
                                         limit_mib=limit, used_mib=used)
            self._starting[pod_uuid] = cost_mib
        try:
            yield
        finally:
            with self._lock:
                del self._starting[pod_uuid]


def used_mib(sandboxes: Iterable[pb.PodSandbox]) -> dict[str, int]:
    """Return the cost, in MiB, of each pod that runs, by its UUID."""
    return {s.labels[labels.POD]: labels.number(
                s.annotations, labels.COST_MIB, _UNKNOWN_MIB)
            for s in sandboxes
            if s.state == pb.SANDBOX_READY and labels.POD in s.labels}


def held_back_mib(conf: cfg.ConfigOpts,
                  sandboxes: Iterable[pb.PodSandbox]) -> int:
    """Return the host's memory, in MiB, that no new pod can ask for.

    It is what pods may not use, and the part of the running pods' cost that
    they did not ask for.
    """
    found = list(sandboxes)
    asked = sum(labels.number(s.annotations, labels.ASKED_MIB)
                for s in found if s.state == pb.SANDBOX_READY)
    return (pod_memory.host_mib() - pod_memory.for_pods_mib(conf)
            + max(0, sum(used_mib(found).values()) - asked))
