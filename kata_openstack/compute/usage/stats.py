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

"""What a container uses: CPU time, memory, disk and network."""

import dataclasses
import threading
import time
from typing import Any

from google.protobuf import any_pb2
from google.protobuf import message
from oslo_log import log as logging
from oslo_utils import units

from kata_openstack.compute.network import plugging
from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import view
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.containerd.protos import metrics_pb2
from kata_openstack.runtime import pod_memory

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Figures:
    """What only the runtime tells, in bytes. ``limit``: 0 for none."""

    limit: int = 0
    read: int = 0
    written: int = 0


def decode(answer: any_pb2.Any) -> Figures:
    """Return the figures in a runtime's answer.

    Its form is that of cgroup v2 or v1. Of another form, all figures are 0.

    :raises message.DecodeError: it is damaged.
    """
    if answer.type_url.endswith('.cgroups.v2.Metrics'):
        two = metrics_pb2.Metrics2.FromString(answer.value)
        return Figures(two.memory.usage_limit,
                       sum(entry.rbytes for entry in two.io.usage),
                       sum(entry.wbytes for entry in two.io.usage))
    if answer.type_url.endswith('.cgroups.v1.Metrics'):
        one = metrics_pb2.Metrics1.FromString(answer.value)
        moved = {'read': 0, 'write': 0}
        for entry in one.blkio.io_service_bytes_recursive:
            if entry.op.lower() in moved:
                moved[entry.op.lower()] += entry.value
        return Figures(one.memory.usage.limit, moved['read'], moved['write'])
    return Figures()


class Stats:
    """The figures of single containers. Thread-safe."""

    def __init__(self, client: cri.CriClient,
                 native_: native.NativeClient,
                 containers_: containers.Containers,
                 network_: plugging.Network) -> None:
        self._client = client
        self._native = native_
        self._containers = containers_
        self._network = network_
        self._cpu = CpuMeter()

    def get(self, container_uuid: str) -> dict[str, Any]:
        """Return CPU in percent of one CPU, memory in MiB, traffic in bytes.

        Takes a second if nobody asked in the last minute, because the use of
        the CPU needs two readings.

        :raises Conflict: if the container does not run
        """
        container = self._containers.running(container_uuid)
        figures = self._client.container_stats(container.id)
        cpu = self._cpu.percent(container.id, figures.cpu)
        if cpu is None:
            time.sleep(1)
            figures = self._client.container_stats(container.id)
            cpu = self._cpu.percent(container.id, figures.cpu) or 0.0
        sandbox = self._client.list_pod_sandboxes(
            sandbox_id=container.pod_sandbox_id)
        rx, tx = self._network.traffic(
            view.vifs(sandbox[0]).readable if sandbox else [])
        memory = (figures.memory.usage_bytes.value
                  or figures.memory.working_set_bytes.value) / units.Mi
        runtime = self._figures(container.id)
        limit = _limit_mib(container, sandbox, runtime)
        return {
            'cpu_percent': round(cpu, 2), 'memory_mib': round(memory, 2),
            'memory_limit_mib': limit,
            'memory_percent': round(100 * memory / limit, 2),
            'block_read': runtime.read, 'block_write': runtime.written,
            'net_rx': rx, 'net_tx': tx}

    def _figures(self, container_id: str) -> Figures:
        try:
            return decode(self._native.metrics(container_id))
        except (exception.KataError, message.DecodeError) as e:
            LOG.warning('Cannot read the disk use of container %s: %s',
                        container_id, e)
            return Figures()


def _limit_mib(container: pb.Container, sandboxes: Any,
               runtime: Figures) -> int:
    """Return the smallest limit: the container's own, its VM's, the node's."""
    # the annotation does not know of later changes
    known = [runtime.limit // units.Mi
             or labels.number(container.annotations, labels.MEMORY_MIB)]
    known += [labels.number(sandbox.annotations, labels.VM_MIB)
              for sandbox in sandboxes]
    known.append(pod_memory.host_mib())
    return min(limit for limit in known if limit)


class CpuMeter:
    """CPU use from two readings of the CPU time.

    containerd's own rate is not used: version 1.6 has none, and later ones
    relate it to the last reading of anybody.
    """

    _MAX = 4096  # containers; the oldest reading is dropped
    _OLDEST = 60e9  # nanoseconds

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, tuple[int, int]] = {}

    def percent(self, container_id: str, cpu: pb.CpuUsage) -> float | None:
        """Return the use in percent of one CPU since the last reading.

        None if there is no reading of the last minute.
        """
        now = (cpu.timestamp, cpu.usage_core_nano_seconds.value)
        with self._lock:
            before = self._last.pop(container_id, None)
            self._last[container_id] = now
            if len(self._last) > self._MAX:
                del self._last[next(iter(self._last))]
        if before is None or not 0 < now[0] - before[0] < self._OLDEST:
            return None
        return max(0.0, 100 * (now[1] - before[1]) / (now[0] - before[0]))
