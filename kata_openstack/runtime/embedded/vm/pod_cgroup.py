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

"""A sandbox's cgroup, on hosts with cgroup v1 or v2.

It holds all processes of a sandbox, so it also tells which processes to
kill when the shim is gone.
"""

import errno
import os
import signal
import time
from typing import Any

from kata_openstack.runtime.embedded.common import figures

_ROOT = '/sys/fs/cgroup'
_V1 = ('memory', 'cpu', 'cpuacct', 'pids')
_V2 = '+memory +cpu +pids'
_PIDS = 1024
_PERIOD = 100_000  # microseconds; the kernel's default


class Cgroup:
    """A cgroup; with v1, a folder for each controller.

    :param path: relative to the cgroup root, as in an OCI config.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        name = path.strip('/')
        self._v2 = os.path.exists(f'{_ROOT}/cgroup.controllers')
        self.folders = [f'{_ROOT}/{name}'] if self._v2 else [
            f'{_ROOT}/{controller}/{name}' for controller in _V1
            if os.path.isdir(f'{_ROOT}/{controller}')]

    def create(self, memory_limit: int) -> None:
        """Create the cgroup and set its limits.

        None of its memory is swapped: a tenant's data would reach the disk,
        and VMs would need more memory than the node counts.

        :param memory_limit: bytes, for VM, virtiofsd and shim together.
        """
        for folder in self.folders:
            if self._v2:
                self._delegate(folder)
            os.makedirs(folder, exist_ok=True)
        limits = ({'memory.max': memory_limit, 'memory.swap.max': 0,
                   'pids.max': _PIDS} if self._v2 else
                  {'memory.limit_in_bytes': memory_limit,
                   'memory.memsw.limit_in_bytes': memory_limit,
                   'memory.swappiness': 0, 'pids.max': _PIDS})
        for folder in self.folders:
            for name, value in limits.items():
                if os.path.exists(f'{folder}/{name}'):
                    _write(f'{folder}/{name}', value)

    def limit_cpu(self, cpus: float) -> None:
        """Limit the CPU time of all processes together.

        :raises OSError:
        """
        quota = round(cpus * _PERIOD)
        for folder in self.folders:
            if os.path.exists(f'{folder}/cpu.max'):
                _write(f'{folder}/cpu.max', f'{quota} {_PERIOD}')
            elif os.path.exists(f'{folder}/cpu.cfs_quota_us'):
                _write(f'{folder}/cpu.cfs_period_us', _PERIOD)
                _write(f'{folder}/cpu.cfs_quota_us', quota)

    def figures(self) -> dict[str, Any]:
        """Return what all processes together use, by the files of cgroup v2.

        :raises OSError: there is no such cgroup.
        """
        if self._v2:
            return figures.read(self.folders[0])
        return _figures_v1({
            os.path.relpath(folder, _ROOT).split('/')[0]: folder
            for folder in self.folders})

    def _delegate(self, folder: str) -> None:
        """Enable the controllers in all parents, as v2 requires."""
        parent = os.path.dirname(folder)
        if parent != _ROOT:
            self._delegate(parent)
            os.makedirs(parent, exist_ok=True)
        for controller in _V2.split():
            try:
                _write(f'{parent}/cgroup.subtree_control', controller)
            except OSError:
                pass  # the host lacks it: the limit is not set

    def add(self, pid: int) -> None:
        for folder in self.folders:
            _write(f'{folder}/cgroup.procs', pid)

    def pids(self) -> set[int]:
        found: set[int] = set()
        for folder in self.folders:
            try:
                with open(f'{folder}/cgroup.procs') as file:
                    found.update(map(int, file.read().split()))
            except FileNotFoundError:
                pass
        return found

    def moved_bytes(self) -> tuple[int, int]:
        """Return what the processes read from and wrote to block devices.

        In bytes. The controller ``io`` would say it too, but is often not
        enabled for a cgroup.
        """
        read = written = 0
        for pid in self.pids():
            try:
                moved = _table(f'/proc/{pid}/io')
            except OSError:
                continue  # it has ended
            read += moved['read_bytes:']
            written += moved['write_bytes:']
        return read, written

    def kill(self, spare: int = 0) -> None:
        """Kill all processes except ``spare``; wait for it, up to 2 s."""
        for _ in range(200):
            pids = self.pids() - {spare}
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)

    def remove(self, move: int = 0) -> bool:
        """Remove the cgroup; first move the pid ``move`` to the root.

        A cgroup that has a process or a child stays. The kernel lists a
        process no longer as soon as it begins to exit, but refuses to remove
        the cgroup until the exit is complete: waits for that, up to 2 s.

        :returns: whether it is gone.
        """
        for folder in self.folders:
            if move:
                top = _ROOT if self._v2 else os.path.join(
                    _ROOT, os.path.relpath(folder, _ROOT).split('/')[0])
                try:
                    _write(f'{top}/cgroup.procs', move)
                except OSError:
                    pass
            for _ in range(200):
                try:
                    os.rmdir(folder)
                    break
                except OSError as e:
                    if e.errno != errno.EBUSY or _in_use(folder):
                        break
                time.sleep(0.01)
        return not any(os.path.exists(folder) for folder in self.folders)


def _in_use(folder: str) -> bool:
    """Return whether a cgroup has a process that lives, or a child."""
    try:
        with open(f'{folder}/cgroup.procs') as file:
            return bool(file.read()) or any(
                entry.is_dir() for entry in os.scandir(folder))
    except FileNotFoundError:
        return False


def _figures_v1(folders: dict[str, str]) -> dict[str, Any]:
    """Return cgroup v1's figures under the names of cgroup v2.

    :param folders: by controller.
    """
    memory = _table(f'{folders["memory"]}/memory.stat')
    cpu = _table(f'{folders["cpu"]}/cpu.stat')
    ticks = _table(f'{folders["cpuacct"]}/cpuacct.stat')
    tick = 1_000_000 // os.sysconf('SC_CLK_TCK')
    usage, limit = (_number(f'{folders["memory"]}/memory.{name}_in_bytes')
                    for name in ('usage', 'limit'))
    return {
        'memory.current': usage, 'memory.max': limit,
        'memory.stat': {
            name: memory[f'total_{old}'] for name, old in (
                ('anon', 'rss'), ('file', 'cache'), ('shmem', 'shmem'),
                ('file_mapped', 'mapped_file'),
                ('inactive_anon', 'inactive_anon'),
                ('active_anon', 'active_anon'),
                ('inactive_file', 'inactive_file'),
                ('active_file', 'active_file'), ('pgfault', 'pgfault'),
                ('pgmajfault', 'pgmajfault')) if f'total_{old}' in memory},
        'pids.current': _number(f'{folders["pids"]}/pids.current'),
        'pids.max': _number(f'{folders["pids"]}/pids.max'),
        'cpu.stat': {
            'usage_usec': _number(
                f'{folders["cpuacct"]}/cpuacct.usage') // 1000,
            'user_usec': ticks['user'] * tick,
            'system_usec': ticks['system'] * tick,
            'nr_periods': cpu.get('nr_periods', 0),
            'nr_throttled': cpu.get('nr_throttled', 0),
            'throttled_usec': cpu.get('throttled_time', 0) // 1000}}


def _number(path: str) -> int:
    with open(path) as file:
        return figures.number(file.read())


def _table(path: str) -> dict[str, int]:
    with open(path) as file:
        return figures.table(file.read())


def path_of(config: dict[str, Any], sandbox: str) -> str:
    """Return the cgroup that a sandbox's OCI config asks for."""
    path = (config.get('linux') or {}).get('cgroupsPath') or ''
    if path.count(':') == 2:  # systemd's notation: slice:prefix:name
        unit, prefix, name = path.split(':')
        path = f'{_slice_path(unit)}/{prefix}-{name}.scope'
    if not path.strip('/') or '..' in path.split('/'):
        path = f'/kata-openstack/{sandbox}'
    return '/' + path.strip('/')


def _slice_path(unit: str) -> str:
    """Return where systemd puts a slice: ``a-b.slice`` is in ``a.slice``.

    See systemd.slice(5).
    """
    words = unit.removesuffix('.slice').split('-')
    if not all(words):  # '-.slice' is the root; no other name has this form
        return ''
    return ''.join(f'/{"-".join(words[:number])}.slice'
                   for number in range(1, len(words) + 1))


def _write(path: str, value: object) -> None:
    with open(path, 'w') as file:
        file.write(str(value))
