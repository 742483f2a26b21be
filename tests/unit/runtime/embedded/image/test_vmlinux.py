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

"""Tables of the guest's kernel that only debuggers read."""

import struct

from kata_openstack.runtime.embedded.image import vmlinux
from tests.unit import base

_NOT_IN_FILE = 8


def elf(sections):
    """An ELF file with these sections: name, content."""
    names = b'\0'
    body = b''
    headers = [bytes(64)]
    for name, content in [*sections, ('.bss', None), ('.shstrtab', b'')]:
        start = len(names)
        names += name.encode() + b'\0'
        if name == '.shstrtab':
            content = names
        headers.append(struct.pack(
            '<IIQQQQIIQQ', start, 1 if content is not None else _NOT_IN_FILE,
            0, 0, 64 + len(body), 1 << 30 if content is None else len(content),
            0, 0, 1, 0))
        body += content or b''
    head = b'\x7fELF\x02\x01'.ljust(40, b'\0') + struct.pack(
        '<QIHHHHHH', 64 + len(body), 0, 64, 0, 0, 64, len(headers),
        len(headers) - 1)
    return head.ljust(64, b'\0') + body + b''.join(headers)


class TestSlim(base.TestCase):
    def test_the_unwinders_tables_become_empty(self):
        parts = [('.text', b'code'), ('.orc_unwind_ip', b'addresses'),
                 ('.orc_unwind', b'rules'), ('.data', b'data')]
        slim = vmlinux.slim(elf(parts))
        self.assertEqual(elf([
            ('.text', b'code'), ('.orc_unwind_ip', bytes(9)),
            ('.orc_unwind', bytes(5)), ('.data', b'data')]), slim)

    def test_an_unknown_layout_is_refused(self):
        whole = elf([('.orc_unwind_ip', b'x' * 100),
                     ('.orc_unwind', b'y' * 100)])
        vmlinux.slim(whole)
        for kernel in (b'', b'\x7fELF', b'MZ' + whole[2:], whole[:-65],
                       elf([('.text', b'x')]),
                       elf([('.orc_unwind', b'x')])):
            self.assertRaises(vmlinux.NotSlimmed, vmlinux.slim, kernel)
