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

"""Installed Kata Containers."""

import pathlib
import time

import fixtures

from kata_openstack.runtime.host import versions
from tests.unit.runtime.host.checks import base
from tests.unit.runtime.host import hosts


SCRIPT = '#!/bin/sh\necho "cloud-hypervisor v51.1.0"; echo >> {}\n'
CONFIG = """
[hypervisor.clh]
path = "{root}/bin/clh"
kernel = "{root}/vmlinux"
image = "{root}/image"
shared_fs = "virtio-fs"
virtio_fs_daemon = "{root}/bin/virtiofsd"
[runtime]
static_sandbox_resource_mgmt = true
"""
_FOLDER = 'kata/share/defaults/kata-containers'


class TestKata(base.CheckTestCase):
    def setUp(self):
        super().setUp()
        self.record = hosts.recorded(self, kata=hosts.KATA_GO, **hosts.QEMU)
        self.root = self.record.root
        self.write(f'{_FOLDER}/configuration-clh.toml',
                   CONFIG.format(root=self.root))
        for name in ('vmlinux', 'image', 'runs'):
            self.write(name, '')
        self.write('bin/clh', SCRIPT.format(self.root / 'runs')).chmod(0o755)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def clh(self, **kwargs):
        return self.record.probe(**kwargs).kata_shim('clh')

    def test_what_the_configuration_names(self):
        shim = self.clh()
        self.assertEqual(('go', 'clh', '51.1.0', 'virtio-fs', True, ''), (
            shim.runtime, shim.table, shim.hypervisor_version,
            shim.shared_fs, shim.static_sizing, shim.problem))
        self.assertEqual({'hypervisor', 'kernel', 'image', 'virtiofsd'},
                         set(shim.files))

    def test_a_drop_in_has_the_last_word(self):
        self.write(f'{_FOLDER}/config.d/10-ours.toml',
                   '[runtime]\nstatic_sandbox_resource_mgmt = false\n'
                   '[hypervisor.clh]\nshared_fs = "none"\n')
        shim = self.clh()
        self.assertEqual((False, 'none'),
                         (shim.static_sizing, shim.shared_fs))
        self.assertNotIn('virtiofsd', shim.files)

    def test_a_file_that_is_not_there(self):
        (self.root / 'vmlinux').unlink()
        host = self.record.probe()
        self.assertIn('vmlinux', host.kata_shim('clh').problem)
        self.assertTrue([f for f in host.findings()
                         if f.name == 'kata-clh' and f.remedy])

    def test_a_malformed_configuration_is_one_line(self):
        self.write(f'{_FOLDER}/configuration-clh.toml', '[hypervisor')
        self.assertIn('is not TOML', self.clh().problem)
        self.assertEqual('', self.record.probe().kata_shim('qemu').problem)

    def problem_of_bytes(self, name, content):
        """The problem of clh with this file; qemu must not have one."""
        self.write(name, '').write_bytes(content)
        host = self.record.probe()
        self.assertEqual(['qemu'], [s.name for s in host.kata
                                    if not s.problem])
        return host.kata_shim('clh').problem

    def test_an_empty_configuration(self):
        name = f'{_FOLDER}/configuration-clh.toml'
        for content in (b'', b'\n# nothing\n'):
            self.assertEqual(f'{self.root / name} is empty',
                             self.problem_of_bytes(name, content))

    def test_a_configuration_that_is_not_utf_8(self):
        name = f'{_FOLDER}/configuration-clh.toml'
        self.assertEqual(
            f'{self.root / name} is not UTF-8', self.problem_of_bytes(
                name, b'[hypervisor.clh]\nkernel = "/caf\xe9"\n'))

    def test_an_unreadable_configuration(self):
        path = self.root / _FOLDER / 'configuration-clh.toml'
        path.unlink()
        path.mkdir()  # a folder, because root can read any file
        host = self.record.probe()
        self.assertEqual(f'{path} cannot be read: is a directory',
                         host.kata_shim('clh').problem)
        self.assertEqual('', host.kata_shim('qemu').problem)

    def test_a_drop_in_that_is_of_no_use_is_a_problem_of_all(self):
        path = self.write(f'{_FOLDER}/config.d/10-ours.toml', '# nothing')
        self.assertEqual('', self.clh().problem)
        path.write_bytes(b'a = "\xe9"')
        for shim in self.record.probe().kata:
            self.assertEqual(f'{path} is not UTF-8', shim.problem)
        path.unlink()
        path.mkdir()
        for shim in self.record.probe().kata:
            self.assertEqual(f'{path} cannot be read: is a directory',
                             shim.problem)

    def test_paths_that_cannot_be(self):
        name = f'{_FOLDER}/configuration-clh.toml'
        for path in ('/x' * 3000, '/' + 'x' * 300, r'/a\u0000b'):
            for key in ('path', 'kernel'):
                problem = self.problem_of_bytes(name, (
                    f'[hypervisor.clh]\n{key} = "{path}"\n').encode())
                self.assertIn(f'{self.root / name} names files that do not '
                              'exist', problem)
                self.assertLess(len(problem), 300)

    def test_strange_types_are_no_crash(self):
        self.write(f'{_FOLDER}/configuration-clh.toml',
                   'hypervisor = 3\nruntime = [1]\n')
        self.assertEqual('', self.clh().table)

    def test_a_version_is_asked_once_a_file(self):
        cache = self.root / 'run/kvm.json'
        for _ in range(3):
            self.assertEqual('51.1.0',
                             self.clh(cache=cache).hypervisor_version)
        self.assertEqual('\n', (self.root / 'runs').read_text())
        self.write('bin/clh', SCRIPT.format(self.root / 'runs') + '#\n')
        self.clh(cache=cache)
        self.assertEqual('\n\n', (self.root / 'runs').read_text())

    def test_versions_that_programs_print(self):
        for text, version in (
                ('QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg)',
                 '7.2.22'),
                ('Kata Containers containerd shim (Rust): id: '
                 'io.containerd.kata.v2, version: 4.1.0, commit: 1f',
                 '4.1.0'),
                ('Firecracker v1.12.1', '1.12.1'),
                ('id v2, version: 4.1.0-rc1', '4.1.0-rc1'), ('no', '')):
            self.assertEqual(version, versions.find(text))

    def test_a_program_that_hangs(self):
        self.useFixture(fixtures.MockPatchObject(versions, 'TIMEOUT', 0.5))
        pids = self.root / 'pids'
        # hangs in the script, in its child, and in a child that leaves the
        # session and keeps the output open
        for line in ('exec sleep 6', 'sleep 6 & echo $! > {}; wait',
                     'setsid sleep 6'):
            with self.subTest(line):
                self.write('bin/clh', f'#!/bin/sh\n{line.format(pids)}\n'
                           ).chmod(0o755)
                begin = time.monotonic()
                self.assertEqual('', self.clh().hypervisor_version)
                self.assertLess(time.monotonic() - begin, 3.0)
        self.assertFalse(running(int(pids.read_text())))

    def test_what_is_answered_while_another_program_hangs(self):
        # with the real limit: the program that answers must start in it
        hanging = [self.write(f'bin/{name}', '#!/bin/sh\nsleep 6\n')
                   for name in 'abcd']
        clh = self.root / 'bin/clh'
        for path in hanging:
            path.chmod(0o755)
        known = {}
        told = versions.check([*hanging, clh], known)
        self.assertEqual('51.1.0', told.pop(str(clh)))
        self.assertEqual({''}, set(told.values()))
        # on a host that is less busy, the others may answer
        self.assertEqual({versions.identity(clh): '51.1.0'}, known)


def running(pid):
    """Whether the process runs; a killed one may still be a zombie."""
    try:
        stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(')')[2].split()[0] not in 'ZX'
