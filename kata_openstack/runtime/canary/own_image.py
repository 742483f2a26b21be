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

"""The canary's own image: one program that tells the boot id of its kernel.

Built here rather than pulled: a registry that is away says nothing about a
handler. The program needs no C library and no other file, so it is written
as the machine code that it is.
"""

import hashlib
import io
import json
import struct
import tarfile

from kata_openstack.runtime.containerd import importer

BOOT_ID = '/proc/sys/kernel/random/boot_id'
# The domain is reserved (RFC 6761), so no registry has such an image.
_NAME = 'kata-openstack.invalid/canary'

# Of Python's platform.machine(), and below of OCI.
ARCHITECTURE = 'x86_64'

# In the order of Linux's calls for x86-64: number in eax; edi, rsi, rdx.
_CODE = bytes.fromhex(
    'b801010000'      # mov eax, 257 (openat)
    'bf9cffffff'      # mov edi, -100 (AT_FDCWD)
    '488d352f000000'  # lea rsi, [rip + 47]: the path, behind the code
    '31d2'            # xor edx, edx (O_RDONLY)
    '0f05'            # syscall
    '89c7'            # mov edi, eax
    '4883ec40'        # sub rsp, 64
    '4889e6'          # mov rsi, rsp
    'ba40000000'      # mov edx, 64
    '31c0'            # xor eax, eax (read)
    '0f05'            # syscall
    '6a01'            # push 1
    '5f'              # pop rdi: stdout; and the exit code of a failure
    '85c0'            # test eax, eax
    '7e0b'            # jle exit
    '89c2'            # mov edx, eax
    'b801000000'      # mov eax, 1 (write)
    '0f05'            # syscall
    '31ff'            # xor edi, edi
    'b83c000000'      # exit: mov eax, 60
    '0f05')           # syscall

_BASE = 0x400000
_HEADERS = 64 + 56


def program() -> bytes:
    """An ELF file for x86-64: prints the boot id; exit code 1 if it cannot."""
    code = _CODE + BOOT_ID.encode() + b'\0'
    size = _HEADERS + len(code)
    header = struct.pack(
        '<16sHHIQQQIHHHHHH', b'\x7fELF\x02\x01\x01', 2, 62, 1,
        _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    # one segment, read and executed, that holds all of the file
    segment = struct.pack('<IIQQQQQQ', 1, 5, 0, _BASE, _BASE, size, size,
                          0x1000)
    return header + segment + code


def _layer() -> bytes:
    """A tar that is the same each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as tar:
        for name in ('dev', 'proc', 'sys'):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        content = program()
        file = tarfile.TarInfo('canary')
        file.size, file.mode = len(content), 0o755
        tar.addfile(file, io.BytesIO(content))
    return buffer.getvalue()


def image() -> importer.Image:
    """The same each time; its name holds a digest of what is in it."""
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        'architecture': 'amd64', 'os': 'linux',
        'config': {'Entrypoint': ['/canary'], 'WorkingDir': '/'},
        'rootfs': {'type': 'layers', 'diff_ids': [f'sha256:{digest}']},
    }).encode()
    return importer.Image(name=f'{_NAME}:{digest[:12]}', config=config,
                          layers=(layer,))
