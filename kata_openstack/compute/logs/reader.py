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

"""Reads the log files that containerd writes for CRI.

A line is ``2016-10-06T00:17:09.669794202Z stdout F text``; with P instead
of F, the text continues in the next line of the same stream.
"""

import collections
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import datetime
import os
import pathlib
from typing import BinaryIO
from typing import NamedTuple


class Record(NamedTuple):
    """time: RFC 3339 with nanoseconds; text: with its line end, if any."""

    time: str
    stream: str
    text: str


def parse(lines: Iterable[bytes]) -> Iterator[Record]:
    """Yield whole log lines: join parts, skip lines that are no records."""
    parts: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for line in lines:
        fields = line.decode('utf-8', 'replace').split(' ', 3)
        if len(fields) != 4 or fields[1] not in ('stdout', 'stderr'):
            continue
        time, stream, tag, text = fields
        first.setdefault(stream, time)
        # remove only the line end: carriage returns belong to the text
        text = text[:-1] if text.endswith('\n') else text
        parts.setdefault(stream, []).append(text)
        if tag.split(':')[0] == 'F':
            yield Record(first.pop(stream), stream,
                         ''.join(parts.pop(stream)) + '\n')
    # text without a line end: its program still writes it, or has died
    for stream, texts in parts.items():
        yield Record(first[stream], stream, ''.join(texts))


def read(path: pathlib.Path, *, stdout: bool = True, stderr: bool = True,
         timestamps: bool = False, tail: int | None = None,
         since: float | None = None, limit: int = 4 << 20) -> str:
    """Return the log as Docker does; a missing file is an empty log.

    Older lines are read from the file that rotation set aside.

    :param tail: number of lines from the end; None: all
    :param since: Unix seconds
    :param limit: maximum number of bytes, from the end
    """
    streams = {name for name, wanted in
               (('stdout', stdout), ('stderr', stderr)) if wanted}
    after = _rfc3339(since) if since else ''
    # Timestamps of equal length can be compared as text. containerd omits
    # trailing zeros; _key restores them.
    records: Iterator[Record] = (
        r for r in parse(_lines(path, limit))
        if r.stream in streams and (not after or _key(r.time) >= after))
    if tail is not None:
        records = iter(collections.deque(records, maxlen=max(tail, 0)))
    return ''.join(f'{r.time} {r.text}' if timestamps else r.text
                   for r in records)


def older(path: pathlib.Path) -> pathlib.Path:
    """Return the path to which a log that is too large is set aside."""
    return path.with_name(f'{path.name}.1')


def _lines(path: pathlib.Path, limit: int) -> Iterator[bytes]:
    with contextlib.ExitStack() as stack:
        files: list[tuple[BinaryIO, os.stat_result]] = []
        # Open the newest first: a file that is set aside meanwhile is then
        # found twice, not missed.
        for file in (path, older(path)):
            with contextlib.suppress(FileNotFoundError):
                opened = stack.enter_context(file.open('rb'))
                status = os.fstat(opened.fileno())
                if not any(os.path.samestat(status, s) for _, s in files):
                    files.append((opened, status))
        skip = sum(status.st_size for _, status in files) - limit
        for log, status in reversed(files):
            if skip < status.st_size:
                if skip > 0:
                    log.seek(skip)
                    log.readline()  # the rest of a line that was cut
                yield from log
            skip -= status.st_size


def _rfc3339(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime('%Y-%m-%dT%H:%M:%S.%f') + '000'


def _key(time: str) -> str:
    """'2016-10-06T00:17:09.66Z' as '2016-10-06T00:17:09.660000000'.

    containerd writes a local time zone as an offset, which is converted to
    UTC.
    """
    if time.endswith('Z'):
        whole, _, fraction = time[:-1].partition('.')
        return f'{whole}.{fraction:0<9}'
    try:
        return _rfc3339(datetime.datetime.fromisoformat(time).timestamp())
    except ValueError:
        return ''
