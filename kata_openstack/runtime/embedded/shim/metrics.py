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

"""Metrics: from the figures of a cgroup to containerd's message."""

from collections.abc import Iterable
from typing import Any

from kata_openstack.runtime.embedded.shim.wire import messages

_MAX = (1 << 64) - 1


def encode(raw: dict[str, Any],
           moved: Iterable[tuple[int, int]] = ()) -> dict[str, Any]:
    """Return the answer to containerd's Stats.

    :param raw: the figures of the guest, which is not trusted, or of the
        pod on the host.
    :param moved: bytes read from and written to block devices of the host.
    """
    values = {
        'pids': {'current': _number(raw.get('pids.current')),
                 'limit': _number(raw.get('pids.max'), limit=True)},
        'cpu': _table(raw.get('cpu.stat'), messages.METRICS, 'cpu')
        | {'psi': _pressure(raw.get('cpu.pressure'))},
        'memory': _table(raw.get('memory.stat'), messages.METRICS, 'memory')
        | {'usage': _number(raw.get('memory.current')),
           'usage_limit': _number(raw.get('memory.max')),
           'swap_usage': _number(raw.get('memory.swap.current')),
           'swap_limit': _number(raw.get('memory.swap.max')),
           'psi': _pressure(raw.get('memory.pressure'))},
        'io': {'usage': [{'rbytes': _number(read), 'wbytes': _number(written)}
                         for read, written in moved],
               'psi': _pressure(raw.get('io.pressure'))},
        'memory_events': _table(raw.get('memory.events'), messages.METRICS,
                                'memory_events')}
    return {'stats': {'type_url': messages.METRICS_TYPE,
                      'value': messages.METRICS.encode(values)}}


def _table(raw: Any, message: Any, name: str) -> dict[str, int]:
    """Return the values of a table for which the message has a field."""
    if not isinstance(raw, dict):
        return {}
    table = next(f.kind for f in message.fields if f.name == name)
    return {field.name: _number(raw[field.name])
            for field in table.fields if field.name in raw}


def _pressure(raw: Any) -> dict[str, Any] | None:
    """Return the shares of time with pressure; None if it is not measured."""
    if not isinstance(raw, dict):
        return None
    return {kind: {name: _number(value) if name == 'total' else _share(value)
                   for name, value in raw[kind].items()
                   if name in ('avg10', 'avg60', 'avg300', 'total')}
            for kind in ('some', 'full') if isinstance(raw.get(kind), dict)}


def _share(value: Any) -> float:
    """Return a percentage; 0 for anything else."""
    if isinstance(value, (int, float)) and 0 <= value <= 100:
        return float(value)
    return 0.0


def _number(value: Any, limit: bool = False) -> int:
    """Return a number that fits into 64 bits; 0 for anything else.

    The guest's -1 means ``max``. It becomes 0 for pids (``limit``), and
    the largest number for memory.
    """
    if not isinstance(value, int):
        return 0
    if value < 0:
        return 0 if limit else _MAX
    return min(value, _MAX)
