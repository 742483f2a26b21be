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

"""The size of a sandbox's VM, and what the VM costs the host.

There are few size classes, because each has a template.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Protocol

from kata_openstack.runtime.embedded.common import settings

# Memory, in MiB, that QEMU, virtiofsd and the shim of a pod may use in
# addition to the VM's own.
HOST_OVERHEAD_MIB = 192
# CPUs that QEMU, virtiofsd and the shim of a pod may use in addition to the
# pod's own.
HOST_OVERHEAD_CPUS = 0.25
MIB = 1024 * 1024
_SMALLEST_MIB = 256
_STEPS = 4  # classes from one power of two to the next
# annotations that containerd makes from the resources of a pod
MEMORY = 'io.kubernetes.cri.sandbox-memory'
QUOTA = 'io.kubernetes.cri.sandbox-cpu-quota'
PERIOD = 'io.kubernetes.cri.sandbox-cpu-period'


class TooBig(Exception):
    """The pod's VM would need more memory than [embedded] max_memory_mib.

    The VM's memory is the pod's and [embedded] guest_overhead_mib.
    """


@dataclasses.dataclass(frozen=True)
class Size:
    memory_mib: int
    vcpus: int

    def __str__(self) -> str:
        return f'{self.memory_mib}m{self.vcpus}c'


class Sizes(Protocol):
    """The options that determine the size of a VM."""

    @property
    def default_memory_mib(self) -> int: ...

    @property
    def guest_overhead_mib(self) -> int: ...


def choose(annotations: Mapping[str, str],
           config: settings.Settings) -> Size:
    """Return the smallest class that has the resources of the pod.

    containerd makes the annotations from the pod's resources. A guest can
    fill all the memory of its VM, so the whole VM is what the pod costs. The
    number of vCPUs is a power of two, but not more than the node has.

    :raises TooBig: with both sizes.
    """
    asked = -(-max(0, _number(annotations, MEMORY)) // MIB)
    memory = memory_mib(asked, config, config.max_memory_mib)
    if memory > config.max_memory_mib:
        raise TooBig(
            f'the sandbox needs {memory} MiB of memory, but this node allows '
            f'{config.max_memory_mib} MiB; ask for less, or enlarge '
            '[embedded] max_memory_mib')
    vcpus = config.default_vcpus
    cpus = _cpus(annotations)
    if cpus:
        vcpus = 1 << (math.ceil(cpus) - 1).bit_length()
    return Size(memory, max(1, min(vcpus, config.max_vcpus)))


def memory_mib(asked_mib: int, config: Sizes, max_mib: int) -> int:
    """Return the memory of the VM of a pod, in MiB.

    :param asked_mib: the memory of the pod; 0 if it asked for none.
    :param max_mib: the largest VM. The result exceeds it only if the pod
        needs more.
    """
    if not asked_mib:
        return config.default_memory_mib
    needed = asked_mib + config.guest_overhead_mib
    return max(needed, min(_class_of(needed), max_mib))


def cpu_limit(annotations: Mapping[str, str], size: Size) -> float:
    """Return the CPUs that all processes of the pod may use on the host."""
    return (_cpus(annotations) or size.vcpus) + HOST_OVERHEAD_CPUS


def _cpus(annotations: Mapping[str, str]) -> float:
    """Return the CPU limit of the pod, 0 for none."""
    quota, period = _number(annotations, QUOTA), _number(annotations, PERIOD)
    return quota / period if quota > 0 and period > 0 else 0


def _class_of(needed: int) -> int:
    """Return the smallest class with at least ``needed`` MiB.

    Classes are 1, 1.25, 1.5 and 1.75 times a power of two.
    """
    if needed <= _SMALLEST_MIB:
        return _SMALLEST_MIB
    step = (1 << (needed - 1).bit_length() - 1) // _STEPS
    return -(-needed // step) * step


def _number(annotations: Mapping[str, str], key: str) -> int:
    try:
        return int(annotations.get(key, 0))
    except ValueError:
        return 0
