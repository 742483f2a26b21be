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

"""The figures of a cgroup v2, in the guest and on the host."""

from collections.abc import Callable
import os
from typing import Any


def read(folder: str) -> dict[str, Any]:
    """Return the raw figures of a cgroup by file.

    :raises OSError: there is no such cgroup.
    """
    found: dict[str, Any] = {}
    for name in os.listdir(folder):
        parse = _FILES.get(name)
        if parse is None:
            continue
        try:
            with open(f'{folder}/{name}') as file:
                found[name] = parse(file.read())
        except OSError:
            pass  # the kernel does not count this, although it has the file
    return found


def number(text: str) -> int:
    """Return a number; -1 stands for ``max``."""
    return -1 if text.strip() == 'max' else int(text)


def table(text: str) -> dict[str, int]:
    """Return the numbers of lines such as ``oom_kill 1``."""
    pairs = (line.split() for line in text.splitlines())
    return {key: int(value) for key, value in pairs}


def _pressure(text: str) -> dict[str, dict[str, float]]:
    """Return the parts of time in which something had to wait.

    A line is such as ``some avg10=0.50 avg60=0.10 avg300=0.00 total=1234``.
    """
    found = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        found[kind] = {
            key: int(value) if key == 'total' else float(value)
            for key, _, value in (pair.partition('=') for pair in pairs)}
    return found


_FILES: dict[str, Callable[[str], Any]] = {
    'memory.current': number, 'memory.max': number,
    'memory.swap.current': number, 'memory.swap.max': number,
    'pids.current': number, 'pids.max': number,
    'cpu.stat': table, 'memory.stat': table, 'memory.events': table,
    'cpu.pressure': _pressure, 'memory.pressure': _pressure,
    'io.pressure': _pressure}
