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

"""Versions of programs, from the output of ``--version``.

Starting a hypervisor takes tens of milliseconds. So all programs run at the
same time, and the probe's cache keeps their answers by the identity of the
file.
"""

from collections.abc import Iterable
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

TIMEOUT = 2.0  # seconds for all programs together
# Seconds to read output that came in time, and for a killed program to
# end.
_GRACE = 0.01
_VERSION = re.compile(r'\bv?(\d+\.\d+(?:\.\d+)*(?:[-~+][0-9A-Za-z.~+-]+)?)')

Known = dict[str, str]


def identity(path: pathlib.Path) -> str:
    """Return a string that changes with the file; '' if it is missing."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a path with a null byte
        return ''
    return f'{path}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}'


def find(text: str) -> str:
    """Return the first version number in ``text``, or ''."""
    found = _VERSION.search(text)
    return found[1] if found else ''


def check(paths: Iterable[pathlib.Path], known: Known) -> Known:
    """Return the versions by path; '' for a program that prints none.

    :param known: versions by identity, see :func:`identity`; new ones are
        added to it, but not that of a program that was too slow: the host
        may be busy.
    """
    wanted = {path: identity(path) for path in set(paths)}
    running = {path: _start(path) for path, key in wanted.items()
               if key and key not in known}
    deadline = time.monotonic() + TIMEOUT
    for path, process in running.items():
        answer = _answer(process, deadline)
        if answer is not None:
            known[wanted[path]] = answer
    return {str(path): known.get(key, '') for path, key in wanted.items()}


def _start(path: pathlib.Path) -> subprocess.Popen[bytes] | None:
    """Start it in a session of its own, for :func:`_kill`."""
    try:
        return subprocess.Popen(
            [str(path), '--version'], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={'PATH': os.defpath, 'LC_ALL': 'C'},
            start_new_session=True)
    except OSError:
        return None


def _answer(process: subprocess.Popen[bytes] | None,
            deadline: float) -> str | None:
    """:returns: None if it did not end in time"""
    if process is None:
        return ''
    try:
        out, _ = process.communicate(
            timeout=max(_GRACE, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _kill(process)
        return None
    return find(out[:4096].decode(errors='replace'))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and its children.

    The program may be a wrapper whose child hangs. Do not read its output to
    the end: a process that left the session may still hold the pipe.
    """
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
