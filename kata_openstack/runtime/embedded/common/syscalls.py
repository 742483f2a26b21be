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

"""System calls that Python 3.11 lacks, for the shim and the agent.

Every function raises :class:`OSError` as the os module does. Numbers are
from the kernel's include/uapi headers.
"""

from collections.abc import Collection
import ctypes
import os
import struct
from typing import Final

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_BIND: Final = 4096
MS_MOVE: Final = 8192
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_SHARED: Final = 1 << 20
MNT_DETACH: Final = 2

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWNET: Final = 0x40000000

_ADDR_NO_RANDOMIZE = 0x0040000
_ADJ_FREQUENCY, _ADJ_TICK = 0x2, 0x4000
_TIMEX_SIZE, _TIMEX_TICK = 208, 88  # struct timex of 64-bit Linux
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_THP_DISABLE: Final = 41
_FALLOC_FL_KEEP_SIZE: Final = 1
_FALLOC_FL_PUNCH_HOLE: Final = 2
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_CAPABILITIES_V3: Final = 0x20080522
_OPENAT2: Final = 437  # the number is the same for all architectures
_RESOLVE_IN_ROOT: Final = 0x10
_PIVOT_ROOT: Final = {'x86_64': 155, 'aarch64': 41}
_SIGEV_SIGNAL: Final = 0
# the number is the same for all architectures; the attributes have the values
# of MS_RDONLY, MS_NOSUID, MS_NODEV and MS_NOEXEC
_MOUNT_SETATTR: Final = 442
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_FINIT_MODULE: Final = {'x86_64': 313, 'aarch64': 273}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p,
                        ctypes.c_ulong, ctypes.c_char_p]
_libc.fallocate64.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong,
                              ctypes.c_longlong]
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc.timer_settime.argtypes = [ctypes.c_void_p, ctypes.c_int,
                                ctypes.c_char_p, ctypes.c_void_p]
_libc.timer_delete.argtypes = [ctypes.c_void_p]


def _check(result: int, what: str) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)


def mount(source: str, target: str, fstype: str = '', flags: int = 0,
          data: str = '') -> None:
    _check(_libc.mount(os.fsencode(source), os.fsencode(target),
                       os.fsencode(fstype), flags, os.fsencode(data)),
           target)


def umount(target: str, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), target)


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Free a part of a file; it reads as zeros. All are in bytes."""
    _check(_libc.fallocate64(
        fd, _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE, offset, length),
        'fallocate')


def allocate(fd: int, offset: int, length: int) -> None:
    """Allocate a part of a file, which reads as zeros. All are in bytes.

    Python's posix_fallocate writes the zeros if the file system cannot.
    """
    _check(_libc.fallocate64(fd, 0, offset, length), 'fallocate')


def setns(fd: int, kind: int = 0) -> None:
    """Move the calling thread into the namespace that ``fd`` refers to."""
    _check(_libc.setns(fd, kind), 'setns')


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), 'unshare')


def die_with_parent(signal: int) -> None:
    """Have the kernel send ``signal`` when the parent's thread ends.

    A change of credentials clears this setting: call it after setuid.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), 'prctl')


def no_new_privileges() -> None:
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'prctl')


def no_huge_pages() -> None:
    """Have this process, and what it executes, use no huge pages."""
    _check(_libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0), 'prctl')


def keep_capabilities(kept: Collection[int]) -> None:
    """Give up all other capabilities of this thread, for ever."""
    number = 0
    while _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number not in kept:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), 'prctl')
        number += 1
    mask = sum(1 << number for number in kept)
    low, high = mask & 0xffffffff, mask >> 32
    # effective, permitted and inheritable, each in two parts
    data = struct.pack('6I', low, low, 0, high, high, 0)
    _check(_libc.capset(struct.pack('Ii', _CAPABILITIES_V3, 0), data),
           'capset')


def open_in_root(root: int, path: str, flags: int) -> int:
    """Open a path as if the folder ``root`` were the root folder."""
    how = struct.pack('QQQ', flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    number = _libc.syscall(_OPENAT2, root, os.fsencode(path), how,
                           ctypes.c_size_t(len(how)))
    _check(number, path)
    return number


def fix_addresses() -> None:
    """Switch off address randomisation for programs started from now on."""
    _check(_libc.personality(_ADDR_NO_RANDOMIZE), 'personality')


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root of this mount namespace; ``old`` gets its root.

    With '.' for both, the former root lies over the new one, and umount('.')
    removes it (pivot_root(2), NOTES).
    """
    number = _PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(number, os.fsencode(new), os.fsencode(old)),
           'pivot_root')


def set_clock_rate(ppm: int) -> None:
    """Let the real-time clock run faster than its counter (adjtimex(2)).

    :param ppm: negative to let it run slower; at most 10 % either way.
    """
    # The kernel takes microseconds for each of 100 ticks in a second, which
    # is 100 ppm, and the rest as ppm with 16 binary digits after the point.
    ticks, rest = divmod(ppm, 100)
    timex = bytearray(_TIMEX_SIZE)
    struct.pack_into('I4xqq', timex, 0, _ADJ_FREQUENCY | _ADJ_TICK, 0,
                     rest << 16)
    struct.pack_into('q', timex, _TIMEX_TICK, 10_000 + ticks)
    buffer = (ctypes.c_char * _TIMEX_SIZE).from_buffer(timex)
    if _libc.adjtimex(buffer) < 0:  # else it is the clock's state
        _check(-1, 'adjtimex')


def restrict_mounts(path: str, flags: int) -> None:
    """Make a mount and all mounts below it private, and add flags to each.

    :param flags: of MS_RDONLY, MS_NOSUID, MS_NODEV and MS_NOEXEC.
    :raises OSError: ENOSYS before Linux 5.12.
    """
    attributes = struct.pack('=QQQQ', flags, 0, MS_PRIVATE, 0)
    _check(_libc.syscall(
        _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE,
        attributes, ctypes.c_size_t(len(attributes))), path)


def load_module(fd: int) -> None:
    """Load the kernel module that ``fd`` is open on."""
    number = _FINIT_MODULE[os.uname().machine]
    _check(_libc.syscall(number, fd, b'', 0), 'finit_module')


def start_cpu_timer(pid: int, seconds: float, signal: int) -> int:
    """Have a signal sent each time that a process has used CPU time.

    :param seconds: the CPU time, of all threads of the process ``pid``.
    :returns: for delete_timer.
    """
    clock, timer = ctypes.c_int(), ctypes.c_void_p()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error), 'clock_getcpuclockid')
    event = struct.pack('qii48x', 0, signal, _SIGEV_SIGNAL)
    _check(_libc.timer_create(clock, event, ctypes.byref(timer)),
           'timer_create')
    period = (int(seconds), int(seconds % 1 * 1e9))
    _check(_libc.timer_settime(timer, 0, struct.pack('qqqq', *period,
                                                     *period), None),
           'timer_settime')
    return timer.value or 0


def delete_timer(timer: int) -> None:
    _check(_libc.timer_delete(timer), 'timer_delete')
