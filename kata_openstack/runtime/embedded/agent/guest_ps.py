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

"""The processes of a container, as its user sees them."""

import os
from typing import Any

_MAX_ARGUMENTS = 512  # characters of a command line
_TICKS = os.sysconf('SC_CLK_TCK')
_PAGE_KIB = os.sysconf('SC_PAGESIZE') // 1024
# Of the fields of /proc/PID/stat after the name, see proc(5)
_TTY, _UTIME, _STIME, _NICE, _START, _SIZE, _RSS = 4, 11, 12, 16, 19, 20, 21


def read(folder: str, after: int, room: int) -> dict[str, Any]:
    """Return the processes of a cgroup and of those below it.

    :param after: skip the processes up to this PID of the guest.
    :param room: how many characters the processes may take. Each takes
        300 to 800.
    :returns: ``processes``, by PID; ``last``: the PID after which the next
        ones follow, 0 if these are all.
    """
    numbers = _numbers(folder)
    inside = {number: _inside(number) for number in numbers}
    found: list[dict[str, Any]] = []
    last = 0
    for number in sorted(numbers):
        if number <= after:
            continue
        if room <= 0:
            return {'processes': found, 'last': last}
        try:
            one = _read(number, inside)
        except (OSError, ValueError, IndexError):
            continue  # it has ended
        found.append(one)
        room -= len(str(one))
        last = number
    return {'processes': found, 'last': 0}


def _numbers(folder: str) -> set[int]:
    found: set[int] = set()
    for path, _, _ in os.walk(folder):
        try:
            with open(f'{path}/cgroup.procs') as file:
                found.update(map(int, file.read().split()))
        except OSError:
            pass  # the cgroup was removed, or is threaded
    return found


def _status(number: int) -> dict[str, str]:
    with open(f'/proc/{number}/status', errors='replace') as file:
        return dict(line.rstrip('\n').split(':\t', 1) for line in file
                    if ':\t' in line)


def _inside(number: int) -> int:
    """Return a process's PID in its own namespace; 0 if it has ended."""
    try:
        return int(_status(number)['NSpid'].split()[-1])
    except (OSError, KeyError, ValueError):
        return 0


def _read(number: int, inside: dict[int, int]) -> dict[str, Any]:
    with open(f'/proc/{number}/stat', errors='replace') as file:
        name, _, rest = file.read().partition(' (')[2].rpartition(') ')
    fields = rest.split()
    with open(f'/proc/{number}/cmdline', 'rb') as file:
        command = file.read(_MAX_ARGUMENTS).replace(b'\0', b' ')
    status = _status(number)
    return {
        'pid': inside[number], 'ppid': inside.get(int(fields[1]), 0),
        'uid': int(status['Uid'].split()[1]),
        'gid': int(status['Gid'].split()[1]),
        'state': fields[0], 'name': name,
        'arguments': command.decode(errors='replace').strip(),
        'tty': _terminal(int(fields[_TTY])),
        'cpu_seconds': (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS,
        'nice': int(fields[_NICE]),
        'threads': int(status['Threads']),
        'age_seconds': _uptime() - int(fields[_START]) / _TICKS,
        'virtual_kib': int(fields[_SIZE]) // 1024,
        'resident_kib': int(fields[_RSS]) * _PAGE_KIB}


def _terminal(device: int) -> str:
    """Return the name of a process's terminal, '' for none.

    The numbers of devices are those of Linux's admin-guide/devices.txt.
    """
    major, minor = os.major(device), os.minor(device)
    return f'pts/{minor + (major - 136) * 256}' if 136 <= major < 144 else ''


def _uptime() -> float:
    with open('/proc/uptime') as file:
        return float(file.read().split()[0])
