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

"""Facts about the host for Zun, read from the kernel's files."""

import os
import pathlib
import re
from typing import Any

from oslo_utils import units
from zun import objects

_NODES = pathlib.Path('/sys/devices/system/node')


def _cpus(text: str) -> set[int]:
    """Parse a list of CPUs such as ``0-2,4``."""
    cpus: set[int] = set()
    for part in text.strip().split(','):
        first, _, last = part.partition('-')
        if first:
            cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def numa_topology(root: pathlib.Path = _NODES) -> Any:
    """Return the NUMA topology, without running lscpu and numactl as Zun does.

    :returns: ``zun.objects.NUMATopology``, memory in MiB. One node with all
        processors if the kernel reports no NUMA nodes.
    """
    nodes = []
    for path in sorted(root.glob('node[0-9]*')):
        try:
            memory = re.search(r'MemTotal:\s+(\d+) kB',
                               (path / 'meminfo').read_text())
            mib = int(memory[1]) // 1024 if memory else 0
            nodes.append(objects.NUMANode(
                id=int(path.name.removeprefix('node')),
                cpuset=_cpus((path / 'cpulist').read_text()),
                pinned_cpus=set(), mem_total=mib, mem_available=mib))
        except OSError:
            continue
    if not nodes:
        pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        mib = pages // units.Mi
        nodes.append(objects.NUMANode(
            id=0, cpuset=set(range(os.cpu_count() or 1)), pinned_cpus=set(),
            mem_total=mib, mem_available=mib))
    return objects.NUMATopology(nodes=nodes)


def platform() -> dict[str, Any]:
    """Return the host data for Zun while kata-compute does not answer."""
    system = os.uname()
    return {'architecture': system.machine,
            'os_type': system.sysname.lower(),
            'os': system.sysname,
            'kernel_version': system.release,
            'cpus': os.cpu_count() or 1,
            'labels': {},
            'runtimes': [],
            'total_containers': 0, 'running_containers': 0,
            'paused_containers': 0, 'stopped_containers': 0}
