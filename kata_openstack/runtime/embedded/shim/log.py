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

"""The shim's log: containerd reads it from the FIFO ``log`` in the bundle.

Lines have the format of containerd's own (logrus text). Logging never
blocks: without a reader, lines are lost. Never log a spec or a request:
they hold secrets.
"""

import os
import time
import traceback

# Of the output of QEMU or virtiofsd: more is cut to its end
_MOST, _KEPT = 1024 * 1024, 64 * 1024  # bytes

_fd = 2
_debug = False
_id = ''


def open_bundle(bundle: str, sandbox: str, debug_too: bool) -> None:
    """Log to ``log`` in the bundle: a FIFO, or a new file without one."""
    global _fd, _debug, _id
    _debug, _id = debug_too, sandbox
    _fd = os.open(f'{bundle}/log', os.O_RDWR | os.O_NONBLOCK | os.O_CREAT
                  | os.O_APPEND | os.O_CLOEXEC, 0o600)


def debug(message: str) -> None:
    if _debug:
        _write('debug', message)


def info(message: str) -> None:
    _write('info', message)


def error(message: str) -> None:
    _write('error', message)


def exception(message: str) -> None:
    """Log a message and the traceback of the current exception."""
    _write('error', f'{message}: {traceback.format_exc()}')


def cut(path: str) -> None:
    """Keep only the end of a program's output if it is long.

    A guest can cause error messages without end. The program appends to the
    file, so it goes on at the new end; a line that it writes meanwhile may be
    lost.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return
    try:
        size = os.fstat(fd).st_size
        if size > _MOST:
            kept = os.pread(fd, _KEPT, size - _KEPT)
            os.ftruncate(fd, 0)
            os.write(fd, kept)
    except OSError as e:  # the disk is full; the next time may succeed
        error(f'could not shorten {path}: {e}')
    finally:
        os.close(fd)


def _write(level: str, message: str) -> None:
    now = time.time()
    stamp = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))
    quoted = message.replace('\\', '\\\\').replace('"', '\\"').replace(
        '\n', '\\n')
    line = (f'time="{stamp}.{int(now % 1 * 1e6):06d}Z" level={level} '
            f'msg="{quoted}" runtime=kata-embedded sandbox={_id}\n')
    try:
        os.write(_fd, line.encode()[:16384])
    except OSError:
        pass
