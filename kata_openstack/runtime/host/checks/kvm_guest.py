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

"""Runs a counted loop as guest code and natively, and times both.

:mod:`kata_openstack.runtime.host.checks.kvm` runs this file as a program in
a separate process. So a KVM that hangs or crashes does not affect the caller,
and a timer signal, which only a main thread can handle, limits each KVM_RUN.
The file uses only the standard library, so that it starts in milliseconds
without the site packages.

It prints one JSON object, see :func:`measure`. Numbers and layouts are
those of the kernel's ``include/uapi/linux/kvm.h`` for x86_64.
"""

from collections.abc import Callable
import ctypes
import enum
import fcntl
import json
import mmap
import os
import signal
import struct
import sys
import time
from types import FrameType
from typing import Any


class Request(enum.IntEnum):
    """Numbers of ioctls; errors show the names."""

    KVM_GET_API_VERSION = 0xAE00
    KVM_CREATE_VM = 0xAE01
    KVM_CHECK_EXTENSION = 0xAE03
    KVM_GET_VCPU_MMAP_SIZE = 0xAE04
    KVM_CREATE_VCPU = 0xAE41
    KVM_SET_TSS_ADDR = 0xAE47
    KVM_RUN = 0xAE80
    KVM_SET_USER_MEMORY_REGION = 0x4020AE46
    KVM_SET_REGS = 0x4090AE82
    KVM_SET_SREGS = 0x4138AE84
    KVM_GET_REGS = 0x8090AE81
    KVM_GET_SREGS = 0x8138AE83


CAPABILITIES = {'irqchip': 0, 'user_memory': 3, 'irqfd': 32,
                'ioeventfd': 36, 'split_irqchip': 121, 'immediate_exit': 136}
EXIT_HLT = 5
API_VERSION = 12

# Guest-physical layout: page tables, then one page of code. One 2 MiB page
# maps all of it to the same virtual addresses.
PML4, PDPT, PD, CODE, SIZE = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
GUEST_CODE = bytes.fromhex('48ffc9 75fb f4')  # dec rcx; jnz -5; hlt
NATIVE_CODE = bytes.fromhex('4889f9 48ffc9 75fb c3')  # mov rcx,rdi; ...; ret

FIRST_LOOP = 4_000
LONGEST_LOOP = 200_000_000
LONG_ENOUGH = 0.005  # seconds of the loop, without the cost of an entry
# The shortest run counts: a busy host can make a run longer, so that a good
# KVM looks slow, but nothing can make a run shorter.
RUNS = 3
# Seconds for all of the guest's runs. CPU time, because the time that a loaded
# host lets us wait must not count.
TIME_LIMIT = 0.2


class TimeUp(Exception):
    pass


class Failed(Exception):
    """An ioctl failed, or the guest did not end with HLT."""

    def __init__(self, call: str, why: str) -> None:
        super().__init__(f'{call}: {why}')
        self.call = call
        self.why = why


def _ioctl(fd: int, request: Request, argument: Any = 0) -> int:
    """:raises Failed: with the name of the request."""
    try:
        return fcntl.ioctl(fd, request, argument)
    except OSError as e:
        raise Failed(request.name, e.strerror or str(e)) from e


def _ioctl_fill(fd: int, request: Request, buffer: bytearray) -> None:
    """An ioctl that writes its answer into ``buffer``."""
    try:
        fcntl.ioctl(fd, request, buffer, True)
    except OSError as e:
        raise Failed(request.name, e.strerror or str(e)) from e


class Guest:
    """A VM with one vCPU in long mode whose only code is the loop."""

    def __init__(self, kvm: int) -> None:
        self.vm = _ioctl(kvm, Request.KVM_CREATE_VM)
        # Intel CPUs without "unrestricted guest" need it. Any three pages
        # outside of the guest's memory will do.
        _ioctl(self.vm, Request.KVM_SET_TSS_ADDR, 0x7FFBD000)
        self.memory = mmap.mmap(-1, SIZE)
        self._fill_memory()
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        _ioctl(self.vm, Request.KVM_SET_USER_MEMORY_REGION,
               struct.pack('=IIQQQ', 0, 0, 0, SIZE, address))
        self.vcpu = _ioctl(self.vm, Request.KVM_CREATE_VCPU)
        size = _ioctl(kvm, Request.KVM_GET_VCPU_MMAP_SIZE)
        self.run_page = mmap.mmap(self.vcpu, size)
        self._enter_long_mode()

    def _fill_memory(self) -> None:
        present_writable = 0x3
        large = 0x80
        for at, entry in ((PML4, PDPT | present_writable),
                          (PDPT, PD | present_writable),
                          (PD, 0 | present_writable | large)):
            struct.pack_into('=Q', self.memory, at, entry)
        self.memory[CODE:CODE + len(GUEST_CODE)] = GUEST_CODE

    def _enter_long_mode(self) -> None:
        sregs = bytearray(312)
        _ioctl_fill(self.vcpu, Request.KVM_GET_SREGS, sregs)
        # kvm_segment: base, limit, selector, type, present, dpl, db, s, l,
        # g, avl, unusable, padding
        segment = struct.Struct('=QIHBBBBBBBBBB')
        code = segment.pack(0, 0xFFFFFFFF, 8, 0xB, 1, 0, 0, 1, 1, 1, 0, 0, 0)
        data = segment.pack(0, 0xFFFFFFFF, 16, 3, 1, 0, 1, 1, 0, 1, 0, 0, 0)
        sregs[0:24] = code
        for index in range(1, 6):  # ds es fs gs ss
            sregs[index * 24:(index + 1) * 24] = data
        cr0, _cr2, cr3, cr4, cr8, efer = range(224, 272, 8)
        struct.pack_into('=Q', sregs, cr0, 0x80000011)  # PG, ET, PE
        struct.pack_into('=Q', sregs, cr3, PML4)
        struct.pack_into('=Q', sregs, cr4, 0x20)  # PAE
        struct.pack_into('=Q', sregs, cr8, 0)
        struct.pack_into('=Q', sregs, efer, 0x500)  # LMA, LME
        _ioctl(self.vcpu, Request.KVM_SET_SREGS, bytes(sregs))

    def loop(self, iterations: int) -> float:
        """Run the loop; return the seconds that it took.

        :raises Failed: if it did not end with HLT.
        """
        regs = bytearray(144)
        rcx, rip, rflags = 16, 128, 136
        struct.pack_into('=Q', regs, rcx, iterations)
        struct.pack_into('=Q', regs, rip, CODE)
        struct.pack_into('=Q', regs, rflags, 2)
        _ioctl(self.vcpu, Request.KVM_SET_REGS, bytes(regs))
        begin = time.perf_counter()
        _ioctl(self.vcpu, Request.KVM_RUN)
        seconds = time.perf_counter() - begin
        reason = struct.unpack_from('=I', self.run_page, 8)[0]
        if reason != EXIT_HLT:
            raise Failed('KVM_RUN', f'the guest ended with exit reason '
                                    f'{reason}, not with HLT')
        return seconds

    def left(self) -> int:
        """Return the iterations that an interrupted loop did not run."""
        regs = bytearray(144)
        _ioctl_fill(self.vcpu, Request.KVM_GET_REGS, regs)
        return struct.unpack_from('=Q', regs, 16)[0]


def _time_up(signum: int, frame: FrameType | None) -> None:
    raise TimeUp


def guest_speed(guest: Guest) -> dict[str, float]:
    """Time longer and longer loops until the cost of an entry is negligible.

    The loop must be long enough in each of its runs.

    :returns: ``iterations``, ``seconds`` (without an entry and an exit) and
        ``entry_seconds``, the time of an entry and an exit. ``timed_out`` is
        True if the time limit ended the first run of a loop.
    """
    signal.signal(signal.SIGPROF, _time_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
    iterations = 1
    runs: list[float] = []  # seconds of each run of ``iterations``
    begin = time.perf_counter()
    try:
        guest.loop(1)  # not timed: the first entry sets things up
        entry = min(guest.loop(1) for _ in range(3))
        iterations = FIRST_LOOP
        while len(runs) < RUNS:
            begin = time.perf_counter()
            runs.append(max(guest.loop(iterations) - entry, 1e-9))
            if min(runs) < LONG_ENOUGH and iterations < LONGEST_LOOP:
                runs.clear()
                iterations *= 4
    except TimeUp:
        seconds = time.perf_counter() - begin
        if not runs:
            return {'iterations': iterations - guest.left(),
                    'seconds': seconds, 'entry_seconds': 0.0,
                    'timed_out': True}
        # otherwise a slow guest completed at least one run: use that
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {'iterations': iterations, 'seconds': min(runs),
            'entry_seconds': entry}


def native_loop() -> Callable[[int], float]:
    """Return the same loop as a function of this process.

    :raises OSError: if executable anonymous memory is forbidden.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=(
        mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
    page.write(NATIVE_CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    function = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(address)

    def loop(iterations: int, _keep: mmap.mmap = page) -> float:
        begin = time.perf_counter()
        function(iterations)
        return time.perf_counter() - begin

    return loop


def native_speed() -> dict[str, float] | None:
    try:
        loop = native_loop()
    except OSError:
        return None
    iterations = FIRST_LOOP
    # twice, because one run may be preempted
    while (seconds := min(loop(iterations), loop(iterations))) < LONG_ENOUGH:
        iterations *= 4
    return {'iterations': iterations, 'seconds': seconds}


def measure(path: str) -> dict[str, Any]:
    """Measure the KVM device at ``path``.

    :returns: ``api_version``, ``capabilities``, ``guest`` and ``native``
        (see :func:`guest_speed`; native is None if it cannot be measured);
        on an error also ``failed`` (the ioctl, or open) and ``why``, and
        ``errno`` if it cannot be opened.
    """
    answer: dict[str, Any] = {}
    try:
        kvm = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        return {'failed': 'open', 'why': e.strerror, 'errno': e.errno}
    try:
        answer['api_version'] = _ioctl(kvm, Request.KVM_GET_API_VERSION)
        if answer['api_version'] != API_VERSION:
            raise Failed('KVM_GET_API_VERSION',
                         f'the version is {answer["api_version"]}, not '
                         f'{API_VERSION}')
        answer['capabilities'] = {
            name: _ioctl(kvm, Request.KVM_CHECK_EXTENSION, number)
            for name, number in CAPABILITIES.items()}
        answer['guest'] = guest_speed(Guest(kvm))
        answer['native'] = native_speed()
    except Failed as e:
        answer.update(failed=e.call, why=e.why)
    finally:
        os.close(kvm)
    return answer


if __name__ == '__main__':
    print(json.dumps(measure(sys.argv[1])))
