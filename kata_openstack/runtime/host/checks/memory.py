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

# QEMU and StratoVirt keep a guest's memory there when it is shared with
# virtiofsd; 64 MiB, Docker's default, end the guest with SIGBUS (Kata issue
# 11861). The smallest size at which one guest of 512 MiB fits.
SHM_NEEDED_MIB = 512
# A guest of the smallest useful size with QEMU's overhead.
MEMORY_NEEDED_MIB = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hugepages:
    """A pool of pages of one size."""

    size_kib: int
    total: int
    free: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """``ksm``: the kernel merges equal pages; None if it cannot.

    Sizes of /dev/shm are None where it is not there.
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
    """/proc/meminfo in MiB."""
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
    """Free memory is what can be had without swapping."""
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
              + ('is not there' if shm_total is None else
                 f'has {shm_total} MiB, {shm_free} MiB of them free'))
    remedies = []
    if total and available < MEMORY_NEEDED_MIB:
        remedies.append('Free memory: a small guest needs '
                        f'{MEMORY_NEEDED_MIB} MiB.')
    if (shm_total or 0) < SHM_NEEDED_MIB:
        remedies.append(
            'Enlarge /dev/shm, which holds guest memory: mount -o '
            f'remount,size=50% /dev/shm (at least {SHM_NEEDED_MIB} MiB; in '
            'a container: --shm-size).')
    return Memory(
        total_mib=total, available_mib=available, shm_total_mib=shm_total,
        shm_free_mib=shm_free, hugepages=_hugepages(roots),
        ksm=ksm == '1' if ksm else None, reason=reason,
        remedy=' '.join(remedies))
