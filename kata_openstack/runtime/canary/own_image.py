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

"""The canary's image: one program that prints the boot id of its kernel.

The image is built here and not pulled, because a registry that is down says
nothing about a handler. The program is machine code, so that it needs no C
library and no other file.
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

# As platform.machine() returns it. image() has the name that OCI uses.
ARCHITECTURE = 'x86_64'

# Linux system calls on x86-64: number in eax, arguments in edi, rsi, rdx.
_CODE = bytes.fromhex(
    'b801010000'      # mov eax, 257 (openat)
    'bf9cffffff'      # mov edi, -100 (AT_FDCWD)
    '488d352f000000'  # lea rsi, [rip + 47]: the path, after the code
    '31d2'            # xor edx, edx (O_RDONLY)
    '0f05'            # syscall
    '89c7'            # mov edi, eax
    '4883ec40'        # sub rsp, 64
    '4889e6'          # mov rsi, rsp
    'ba40000000'      # mov edx, 64
    '31c0'            # xor eax, eax (read)
    '0f05'            # syscall
    '6a01'            # push 1
    '5f'              # pop rdi: stdout, also the exit code of an error
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
    """Return an ELF file for x86-64 that prints the boot id; 1 on an error."""
    code = _CODE + BOOT_ID.encode() + b'\0'
    size = _HEADERS + len(code)
    header = struct.pack(
        '<16sHHIQQQIHHHHHH', b'\x7fELF\x02\x01\x01', 2, 62, 1,
        _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    # one segment, readable and executable, with the whole file
    segment = struct.pack('<IIQQQQQQ', 1, 5, 0, _BASE, _BASE, size, size,
                          0x1000)
    return header + segment + code


def _layer() -> bytes:
    """Return a tar archive; its bytes are always the same."""
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
    """Return the image; its tag is a digest of its layer."""
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        'architecture': 'amd64', 'os': 'linux',
        'config': {'Entrypoint': ['/canary'], 'WorkingDir': '/'},
        'rootfs': {'type': 'layers', 'diff_ids': [f'sha256:{digest}']},
    }).encode()
    return importer.Image(name=f'{_NAME}:{digest[:12]}', config=config,
                          layers=(layer,))
