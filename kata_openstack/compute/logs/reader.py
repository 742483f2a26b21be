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
of F the text goes on in the next line of the same stream.
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
    """Whole log lines: parts are joined, what is no record is left out."""
    parts: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for line in lines:
        fields = line.decode('utf-8', 'replace').split(' ', 3)
        if len(fields) != 4 or fields[1] not in ('stdout', 'stderr'):
            continue
        time, stream, tag, text = fields
        first.setdefault(stream, time)
        # only the text's own line end: carriage returns are the program's
        text = text[:-1] if text.endswith('\n') else text
        parts.setdefault(stream, []).append(text)
        if tag.split(':')[0] == 'F':
            yield Record(first.pop(stream), stream,
                         ''.join(parts.pop(stream)) + '\n')
    # what a program wrote without a line end, so far or before its death
    for stream, texts in parts.items():
        yield Record(first[stream], stream, ''.join(texts))


def read(path: pathlib.Path, *, stdout: bool = True, stderr: bool = True,
         timestamps: bool = False, tail: int | None = None,
         since: float | None = None, limit: int = 4 << 20) -> str:
    """The log as Docker would give it; no file is an empty log.

    It goes on, backwards, in what was set aside.

    :param tail: this many lines from the end; None: all
    :param since: Unix seconds
    :param limit: at most this many bytes, from the end
    """
    streams = {name for name, wanted in
               (('stdout', stdout), ('stderr', stderr)) if wanted}
    after = _rfc3339(since) if since else ''
    # Timestamps of one length compare as text; containerd writes them so
    # but for trailing zeros, which _key restores.
    records: Iterator[Record] = (
        r for r in parse(_lines(path, limit))
        if r.stream in streams and (not after or _key(r.time) >= after))
    if tail is not None:
        records = iter(collections.deque(records, maxlen=max(tail, 0)))
    return ''.join(f'{r.time} {r.text}' if timestamps else r.text
                   for r in records)


def older(path: pathlib.Path) -> pathlib.Path:
    """Where a log that has grown too large is set aside."""
    return path.with_name(f'{path.name}.1')


def _lines(path: pathlib.Path, limit: int) -> Iterator[bytes]:
    with contextlib.ExitStack() as stack:
        files: list[tuple[BinaryIO, os.stat_result]] = []
        # the newest first: what is set aside meanwhile is then seen twice,
        # and not missed
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

    containerd writes local time zones as offsets; kata-compute and it run
    on one host, whose zone is therefore read from the record.
    """
    if time.endswith('Z'):
        whole, _, fraction = time[:-1].partition('.')
        return f'{whole}.{fraction:0<9}'
    try:
        return _rfc3339(datetime.datetime.fromisoformat(time).timestamp())
    except ValueError:
        return ''
