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
"""The canary's program, as machine code for x86-64 Linux.

It needs no C library and no other file. First it checks that the guest runs
the code that its files contain: it makes the CPU translate code in 64 pages,
frees these pages, and reads 64 pages of the program's file into others at
the same addresses. QEMU's emulator keeps translated code until it sees a
write to the page, and it does not see the writes of virtiofsd. Without a
remedy the old code runs, and the program ends with :data:`STALE`. QEMU 7.2
also compares the virtual address, so the pages run at 64 addresses each.
Then it prints the boot id of its kernel. Any other error is exit code 1.
"""

import struct

BOOT_ID = '/proc/sys/kernel/random/boot_id'
STALE = 3  # the exit code if code of a former page has run

_PAGE = 4096
_PAGES = 64

# Linux system calls: number in eax, arguments in edi, rsi, rdx, r10, r8, r9.
_CODE = bytes.fromhex(
    # mmap(AWAY, 64 pages, rwx, private | fixed | anonymous)
    'bd00000020'               # mov ebp, 0x20000000
    'b809000000'               # mov eax, 0x9
    '89ef'                     # mov edi, ebp
    'be00000400'               # mov esi, 0x40000
    'ba07000000'               # mov edx, 0x7
    '41ba32000000'             # mov r10d, 0x32
    '6aff'                     # push 0xffffffffffffffff
    '4158'                     # pop r8
    '4531c9'                   # xor r9d, r9d
    '0f05'                     # syscall
    '4839e8'                   # cmp rax, rbp
    '0f8524010000'             # jne fail
    '488d9d00000400'           # lea rbx, [rbp+0x40000]
    # write "mov eax, 1; ret" into each page
    '4881eb00100000'           # write: sub rbx, 0x1000
    '48b8b801000000c30000'     # movabs rax, 0xc300000001b8
    '488903'                   # mov QWORD PTR [rbx], rax
    '4839eb'                   # cmp rbx, rbp
    '75e7'                     # jne write
    # move the pages over WHERE step by step and run each of them,
    # so that each runs at each address there
    '41bc0010fc0f'             # mov r12d, 0xffc1000
    '89ef'                     # slide: mov edi, ebp
    '4589e0'                   # mov r8d, r12d
    'e8d2000000'               # call move
    '498d9c2400000400'         # lea rbx, [r12+0x40000]
    '4881eb00100000'           # run: sub rbx, 0x1000
    'ffd3'                     # call rbx
    '4c39e3'                   # cmp rbx, r12
    '75f2'                     # jne run
    '4489e7'                   # mov edi, r12d
    '4189e8'                   # mov r8d, ebp
    'e8b1000000'               # call move
    '4181c400100000'           # add r12d, 0x1000
    '4181fc00000410'           # cmp r12d, 0x10040000
    '75c5'                     # jne slide
    # munmap(AWAY)
    'b80b000000'               # mov eax, 0xb
    '89ef'                     # mov edi, ebp
    'be00000400'               # mov esi, 0x40000
    '0f05'                     # syscall
    # mmap(WHERE, 64 pages, r-x, private | fixed) of the program itself,
    # from page 64 on
    '488d35b8000000'           # lea rsi, [rip+0xb8]
    'e878000000'               # call open
    '4189c0'                   # mov r8d, eax
    '41bc00000010'             # mov r12d, 0x10000000
    'b809000000'               # mov eax, 0x9
    '4489e7'                   # mov edi, r12d
    'be00000400'               # mov esi, 0x40000
    'ba05000000'               # mov edx, 0x5
    '41ba12000000'             # mov r10d, 0x12
    '41b900000400'             # mov r9d, 0x40000
    '0f05'                     # syscall
    '4c39e0'                   # cmp rax, r12
    '757b'                     # jne fail
    '498d9c2400000400'         # lea rbx, [r12+0x40000]
    # run each page; each must return 2
    '4881eb00100000'           # check: sub rbx, 0x1000
    'ffd3'                     # call rbx
    '83f802'                   # cmp eax, 0x2
    '7560'                     # jne stale
    '4c39e3'                   # cmp rbx, r12
    '75ed'                     # jne check
    # open, read and write the boot id
    '488d3572000000'           # lea rsi, [rip+0x72]
    'e823000000'               # call open
    '89c7'                     # mov edi, eax
    '4883ec40'                 # sub rsp, 0x40
    '4889e6'                   # mov rsi, rsp
    'ba40000000'               # mov edx, 0x40
    '31c0'                     # xor eax, eax
    '0f05'                     # syscall
    '6a01'                     # push 0x1
    '5f'                       # pop rdi
    '85c0'                     # test eax, eax
    '7e3e'                     # jle exit
    '89c2'                     # mov edx, eax
    '89f8'                     # mov eax, edi
    '0f05'                     # syscall
    '31ff'                     # xor edi, edi
    'eb34'                     # jmp exit
    # open(rsi)
    'b801010000'               # open: mov eax, 0x101
    'bf9cffffff'               # mov edi, 0xffffff9c
    '31d2'                     # xor edx, edx
    '0f05'                     # syscall
    'c3'                       # ret
    # mremap(edi, to r8)
    'b819000000'               # move: mov eax, 0x19
    'be00000400'               # mov esi, 0x40000
    'ba00000400'               # mov edx, 0x40000
    '41ba03000000'             # mov r10d, 0x3
    '0f05'                     # syscall
    '4c39c0'                   # cmp rax, r8
    '7506'                     # jne fail
    'c3'                       # ret
    # exit codes 3 and 1
    '6a03'                     # stale: push 0x3
    '5f'                       # pop rdi
    'eb03'                     # jmp exit
    '6a01'                     # fail: push 0x1
    '5f'                       # pop rdi
    'b83c000000'               # exit: mov eax, 0x3c
    '0f05')                    # syscall

_RETURN_2 = bytes.fromhex('b802000000c3')  # mov eax, 2; ret

_BASE = 0x400000
_HEADERS = 64 + 56


def program() -> bytes:
    """Return an ELF file: a page of code, then pages that return 2.

    Only the first page is loaded at the start. The code maps the last 64
    pages itself; the 64 before them keep the kernel's read-ahead away.
    """
    code = _CODE + b'/proc/self/exe\0' + BOOT_ID.encode() + b'\0'
    header = struct.pack(
        '<16sHHIQQQIHHHHHH', b'\x7fELF\x02\x01\x01', 2, 62, 1,
        _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    # one segment, readable and executable: the first page
    segment = struct.pack('<IIQQQQQQ', 1, 5, 0, _BASE, _BASE, _PAGE, _PAGE,
                          _PAGE)
    first = (header + segment + code).ljust(_PAGE, b'\0')
    # int3 after the code: a jump to a wrong place is a SIGTRAP
    return first + _RETURN_2.ljust(_PAGE, b'\xcc') * (2 * _PAGES - 1)
