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

"""Memory, /dev/shm, hugepages and KSM."""

import dataclasses
import re

from kata_openstack.runtime.host import roots as host_roots

# The smallest /dev/shm that holds one guest of 512 MiB. QEMU and StratoVirt
# keep guest memory there to share it with virtiofsd. With Docker's default of
# 64 MiB, the guest dies of SIGBUS (Kata issue 11861).
SHM_NEEDED_MIB = 512
# The smallest useful guest and QEMU's overhead.
MEMORY_NEEDED_MIB = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hugepages:
    """A pool of huge pages of one size."""

    size_kib: int
    total: int
    free: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """The memory of this host.

    ``available_mib``: free without swapping. ``shm_...``: the size of
    /dev/shm; None if it does not exist. ``ksm``: the kernel merges equal
    pages; None if it has no KSM.
    """

    total_mib: int = 0
    available_mib: int = 0
    shm_total_mib: int | None = None
    shm_free_mib: int | None = None
    hugepages: tuple[Hugepages, ...] = ()
    ksm: bool | None = None
    reason: str = ''
    remedy: str = ''

    @property
    def shm_suffices(self) -> bool:
        return (self.shm_total_mib or 0) >= SHM_NEEDED_MIB


def _meminfo(roots: host_roots.Roots) -> dict[str, int]:
    """Return /proc/meminfo in MiB."""
    lines = re.findall(r'^(\w+):\s+(\d+) kB$',
                       roots.read(roots.proc / 'meminfo'), re.MULTILINE)
    return {name: int(kib) // 1024 for name, kib in lines}


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _hugepages(roots: host_roots.Roots) -> tuple[Hugepages, ...]:
    folder = roots.sys / 'kernel/mm/hugepages'
    pools = []
    for name in roots.names(folder):
        size = re.fullmatch(r'hugepages-(\d+)kB', name)
        if size:
            pools.append(Hugepages(
                size_kib=int(size[1]),
                total=_number(roots.word(folder / name / 'nr_hugepages')),
                free=_number(roots.word(folder / name / 'free_hugepages'))))
    return tuple(pools)


def check(roots: host_roots.Roots) -> Memory:
    """Check memory and /dev/shm against the needs of one small guest."""
    info = _meminfo(roots)
    total, available = info.get('MemTotal', 0), info.get('MemAvailable', 0)
    shm = roots.dev / 'shm'
    shm_total: int | None = None
    shm_free: int | None = None
    try:
        size = roots.statvfs(shm)
        shm_total = size.f_blocks * size.f_frsize >> 20
        shm_free = size.f_bavail * size.f_frsize >> 20
    except OSError:
        pass
    ksm = roots.word(roots.sys / 'kernel/mm/ksm/run')
    reason = (f'{available} MiB of {total} MiB are free; /dev/shm '
              + ('does not exist' if shm_total is None else
                 f'has {shm_total} MiB, of which {shm_free} MiB are free'))
    remedies = []
    if total and available < MEMORY_NEEDED_MIB:
        remedies.append('Stop other programs or use a larger node: a small '
                        f'guest needs {MEMORY_NEEDED_MIB} MiB.')
    if (shm_total or 0) < SHM_NEEDED_MIB:
        remedies.append(
            'Enlarge /dev/shm, which holds guest memory, to at least '
            f'{SHM_NEEDED_MIB} MiB: mount -o remount,size=50% /dev/shm (if '
            'the node is a container: --shm-size).')
    return Memory(
        total_mib=total, available_mib=available, shm_total_mib=shm_total,
        shm_free_mib=shm_free, hugepages=_hugepages(roots),
        ksm=ksm == '1' if ksm else None, reason=reason,
        remedy=' '.join(remedies))
