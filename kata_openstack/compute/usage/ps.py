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

"""A list of processes in the columns of ps(1)."""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import time
from typing import Any

from kata_openstack import exception

_DAY = 86400  # seconds
Process = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Moment:
    """What the figures of processes relate to.

    ``memory_kib``: all that the container may use. ``now``: Unix seconds.
    """

    memory_kib: int
    now: float


def _user(process: Process, _: Moment) -> str:
    # names of users are in files of the container, which are not read here
    return 'root' if process['uid'] == 0 else str(process['uid'])


def _percent(process: Process) -> float:
    return 100 * process['cpu_seconds'] / max(process['age_seconds'], 0.01)


def _memory(process: Process, moment: Moment) -> str:
    return f'{100 * process["resident_kib"] / max(moment.memory_kib, 1):.1f}'


def _started(process: Process, moment: Moment) -> str:
    """Return the time of the start; the date, if it was a day ago."""
    then = moment.now - process['age_seconds']
    return time.strftime('%H:%M' if moment.now - then < _DAY else '%b%d',
                         time.gmtime(then))


def _clock(seconds: float, minutes_only: bool = False) -> str:
    """Return a duration: [DAYS-]HOURS:MINUTES:SECONDS, or MINUTES:SECONDS."""
    minutes, rest = divmod(int(max(0, seconds)), 60)
    if minutes_only:
        return f'{minutes}:{rest:02}'
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f'{days}-' if days else '') + f'{hours:02}:{minutes:02}:{rest:02}'


def _command(process: Process, _: Moment) -> str:
    return process['arguments'] or f'[{process["name"]}]'


def _plain(key: str) -> Callable[[Process, Moment], str]:
    return lambda process, _: str(process[key])


def _tty(process: Process, _: Moment) -> str:
    return process['tty'] or '?'


# Header and value of each column that -o takes
_COLUMNS: dict[str, tuple[str, Callable[[Process, Moment], str]]] = {
    'pid': ('PID', _plain('pid')), 'ppid': ('PPID', _plain('ppid')),
    'user': ('USER', _user), 'uname': ('USER', _user),
    'euser': ('EUSER', _user), 'uid': ('UID', _plain('uid')),
    'gid': ('GID', _plain('gid')),
    '%cpu': ('%CPU', lambda p, _: f'{_percent(p):.1f}'),
    'pcpu': ('%CPU', lambda p, _: f'{_percent(p):.1f}'),
    'c': ('C', lambda p, _: str(int(_percent(p)))),
    '%mem': ('%MEM', _memory), 'pmem': ('%MEM', _memory),
    'vsz': ('VSZ', _plain('virtual_kib')),
    'rss': ('RSS', _plain('resident_kib')),
    'tty': ('TT', _tty), 'tt': ('TT', _tty), 'tname': ('TTY', _tty),
    'stat': ('STAT', _plain('state')), 'state': ('S', _plain('state')),
    's': ('S', _plain('state')),
    'stime': ('STIME', _started), 'start_time': ('START', _started),
    'etime': ('ELAPSED', lambda p, _: _clock(p['age_seconds'])),
    'etimes': ('ELAPSED', lambda p, _: str(int(p['age_seconds']))),
    'time': ('TIME', lambda p, _: _clock(p['cpu_seconds'])),
    'cputime': ('TIME', lambda p, _: _clock(p['cpu_seconds'])),
    'bsdtime': ('TIME', lambda p, _: _clock(p['cpu_seconds'], True)),
    'ni': ('NI', _plain('nice')), 'nice': ('NI', _plain('nice')),
    'nlwp': ('NLWP', _plain('threads')),
    'comm': ('COMMAND', _plain('name')), 'ucmd': ('CMD', _plain('name')),
    'args': ('COMMAND', _command), 'command': ('COMMAND', _command),
    'cmd': ('CMD', _command)}
_SHORT = 'pid tname time ucmd'
_FULL = 'user=UID pid ppid c stime tname time cmd'
_LONG = 's uid pid ppid c ni vsz tname time ucmd'
_BSD = 'pid tname stat bsdtime args'
_BSD_USER = ('user pid pcpu pmem vsz rss tname stat start_time bsdtime '
             'args=COMMAND')
# Letters that choose processes or the width: all processes are shown anyway
_NO_EFFECT = set('eAadgNTrxwHk')


def columns(arguments: str) -> list[tuple[str, str]]:
    """Return the columns that arguments of ps ask for: name, header.

    :param arguments: such as ``-ef``, ``aux`` or ``-eo pid,comm``; empty
        for ``-ef``, which is Docker's default.
    :raises InvalidInput: for an argument that is not known here.
    """
    words = arguments.split() or ['-ef']
    chosen: list[str] = []
    form = ''
    while words:
        word = words.pop(0)
        letters, dash = word.removeprefix('-'), word.startswith('-')
        head, o, rest = letters.partition('o')
        if letters.startswith('-') or not letters:
            raise _unknown(word)
        if o:
            asked = _split(rest or (words.pop(0) if words else ''))
            if not asked:
                raise _unknown(word)
            chosen += asked
        for letter in head:
            if letter in 'fF' and dash:
                form = _FULL
            elif letter == 'u' and not dash:
                form = _BSD_USER
            elif letter == 'l':
                form = _LONG
            elif letter in 'ax' and not dash:
                form = form or _BSD
            elif letter not in _NO_EFFECT:
                raise _unknown(word)
    return [_column(text) for text in chosen or (form or _SHORT).split()]


def _split(text: str) -> list[str]:
    return [part for part in text.split(',') if part]


def _column(text: str) -> tuple[str, str]:
    name, renamed, header = text.partition('=')
    if name not in _COLUMNS:
        raise exception.InvalidInput(
            field='the column of ps', value=name[:64], why='unknown',
            remedy=f'Choose among {", ".join(sorted(_COLUMNS))}.')
    return name, header if renamed else _COLUMNS[name][0]


def _unknown(word: str) -> exception.InvalidInput:
    return exception.InvalidInput(
        field='the arguments of ps', value=word[:64], why='not supported',
        remedy='Use -ef, aux, -l, or -o with a list of columns such as '
               'pid,user,args.')


def table(chosen: Iterable[tuple[str, str]], processes: Iterable[Process],
          moment: Moment) -> dict[str, Any]:
    """Return ``Titles`` and ``Processes``, the answer of Docker's top."""
    chosen = list(chosen)
    return {'Titles': [header for _, header in chosen],
            'Processes': [[_COLUMNS[name][1](process, moment)
                           for name, _ in chosen]
                          for process in processes]}
