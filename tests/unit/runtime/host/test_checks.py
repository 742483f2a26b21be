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

"""What the single checks read, and what they make of it."""

import http.server
import pathlib
import socket
import threading
import time

import fixtures

from kata_openstack import exception
from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.host import instance
from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime.host import versions
from tests.unit import base
from tests.unit.runtime.host import hosts
from tests.unit.runtime.host import library


class CheckTestCase(base.TestCase):
    def host(self, **kwargs):
        return hosts.recorded(self, **kwargs).probe()


class TestBelow(CheckTestCase):
    def name(self, **kwargs):
        cpu = self.host(flags='hypervisor', **kwargs).cpu
        return cpu.hypervisor, cpu.hypervisor_source

    def test_cpuid_goes_first(self):
        self.assertEqual(('KVM', 'CPUID'), self.name(
            cpuid={0x40000000: 'KVMKVMKVM'},
            files=library.dmi(sys_vendor='Xen')))

    def test_hyper_v_as_kvm_offers_it(self):
        self.assertEqual(('KVM', 'CPUID'), self.name(
            cpuid={0x40000000: 'Microsoft Hv', 0x40000100: 'KVMKVMKVM'}))

    def test_a_signature_that_nobody_knows(self):
        self.assertEqual(('NewNewNewNew', 'CPUID'), self.name(
            cpuid={0x40000000: 'NewNewNewNew'}))

    def test_other_sources(self):
        for files, name in (
                ({'sys/hypervisor/type': 'xen\n'}, 'Xen'),
                (library.dmi(product_name='Google Compute Engine'), 'KVM'),
                (library.dmi(sys_vendor='Amazon EC2'), 'KVM'),
                (library.dmi(sys_vendor='Nobody'), 'unknown')):
            with self.subTest(files=files):
                self.assertEqual(name, self.name(files=files)[0])

    def test_arm64_has_no_flag_for_it(self):
        cpu = self.host(flags='', architecture='aarch64', files={
            'proc/device-tree/hypervisor/compatible': 'linux,kvm\0'}).cpu
        self.assertEqual((True, 1, 'KVM'),
                         (cpu.nested, cpu.level, cpu.hypervisor))

    def test_bare_metal_has_none(self):
        cpu = self.host(files=library.dmi(sys_vendor='QEMU')).cpu
        self.assertEqual((False, ''), (cpu.nested, cpu.hypervisor))


class TestCpu(CheckTestCase):
    def test_features_of_vmx_in_a_line_of_their_own(self):
        cpu = self.host(flags='vmx\nvmx flags\t: ept vpid',
                        files=library.module('kvm_intel', nested='1',
                                             ept='N')).cpu
        self.assertEqual('ept', cpu.second_level_paging)
        self.assertIs(True, cpu.nesting_enabled)
        self.assertIs(False, cpu.second_level_paging_enabled)
        self.assertIn('kvm_intel with ept=1', cpu.remedy)


class TestMemory(CheckTestCase):
    def test_sizes(self):
        memory = self.host(files={
            'proc/meminfo': 'MemTotal:  2097152 kB\n'
                            'MemAvailable:   102400 kB\n',
            'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '8\n',
            'sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages': '5\n',
            'sys/kernel/mm/ksm/run': '1\n'}).memory
        self.assertEqual((2048, 100, 16384), (
            memory.total_mib, memory.available_mib, memory.shm_total_mib))
        pool = memory.hugepages[0]
        self.assertEqual((2048, 8, 5),
                         (pool.size_kib, pool.total, pool.free))
        self.assertIs(True, memory.ksm)
        self.assertIn('Free memory', memory.remedy)

    def test_without_shm(self):
        memory = self.host(shm_mib=None).memory
        self.assertIsNone(memory.shm_total_mib)
        self.assertFalse(memory.shm_suffices)


class TestDevices(CheckTestCase):
    def test_gpu(self):
        iommu = self.host(
            devices=('vfio/vfio',), files=library.GPU, links={
                'sys/bus/pci/devices/0000:65:00.0/iommu_group':
                '../../../../kernel/iommu_groups/7'}).iommu
        gpu, audio = iommu.devices
        self.assertTrue(iommu.usable)
        self.assertEqual((7, True), (gpu.group, gpu.nvidia_gpu))
        self.assertEqual((None, False), (audio.group, audio.nvidia_gpu))

    def test_peer_pods(self):
        record = hosts.recorded(self)
        folder = record.root / 'run/peerpod'
        folder.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(folder / 'hypervisor.sock'))
        self.assertTrue(record.probe().peer_pods.usable)

    def test_what_the_firmware_has_ready(self):
        for kwargs, name, words in (
                ({'vendor': 'AuthenticAMD',
                  'msrs': {0xC0010010: 1 << 24}}, 'sev-snp', 'sev_snp=1'),
                ({'msrs': {0x87: 64 << 32}}, 'tdx', 'tdx=1'),
                ({'msrs': {0x87: 64}}, '', 'need a CPU')):
            with self.subTest(name):
                tee = self.host(**kwargs).tee
                self.assertEqual(name, tee.firmware)
                self.assertIn(words, tee.remedy)

    def test_a_confidential_guest_itself(self):
        self.assertEqual('tdx', self.host(devices=('tdx_guest',)).tee.guest)

    def test_kvm_without_what_hypervisors_need(self):
        host = self.host(measured={**hosts.HARDWARE,
                                   'capabilities': {'ioeventfd': 0}})
        found = caps.capabilities(host, allow_emulation=False)
        self.assertFalse(found[caps.KVM_IOEVENTFD].present)
        self.assertIn('KVM_CAP_IOEVENTFD', found[caps.KVM_IOEVENTFD].reason)
        self.assertTrue(found[caps.KVM_IRQCHIP].present)


class TestCgroup(CheckTestCase):
    def test_version_2_with_delegation(self):
        cgroup = self.host(files={
            'proc/self/cgroup': '0::/system.slice/kata.service\n',
            'sys/fs/cgroup/cgroup.controllers': 'cpu io memory pids\n',
            'sys/fs/cgroup/system.slice/kata.service/cgroup.controllers':
            'memory pids\n'}).cgroup
        self.assertEqual((2, ('memory', 'pids')),
                         (cgroup.version, cgroup.delegated))
        self.assertIn('without cpu', cgroup.reason)
        self.assertIn('Delegate=yes', cgroup.remedy)

    def test_version_1(self):
        cgroup = self.host(files={
            'proc/self/cgroup': '3:cpu,cpuacct:/\n2:memory:/\n4:pids:/\n'
                                '1:name=systemd:/\n0::/\n'}).cgroup
        self.assertEqual((1, ''), (cgroup.version, cgroup.remedy))
        self.assertEqual(('cpu', 'cpuacct', 'memory', 'pids'),
                         cgroup.controllers)

    def test_none(self):
        self.assertEqual(0, self.host().cgroup.version)


class TestInstance(CheckTestCase):
    def test_metadata_is_asked_only_on_request(self):
        record = hosts.recorded(self, flags='hypervisor')
        self.assertFalse(record.probe().instance.nova)
        found = record.probe(metadata=lambda: True).instance
        self.assertEqual('metadata', found.told_by)

    def test_bare_metal_does_not_ask(self):
        hosts.recorded(self).probe(metadata=self.fail)

    def test_ask_metadata(self):
        with http.server.HTTPServer(('127.0.0.1', 0), Answer) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            self.useFixture(fixtures.MockPatchObject(
                instance, '_METADATA',
                f'http://127.0.0.1:{server.server_port}/openstack'))
            self.assertTrue(instance.ask_metadata())
            thread.join()
        self.assertFalse(instance.ask_metadata())  # nobody listens now

    def test_ask_metadata_of_what_is_not_http(self):
        for line in (b'SSH-2.0-OpenSSH_9.2\r\n', b'HTTP/1.1 x\r\n',
                     b'HTTP/9 200 OK\r\n\r\n'):
            with (self.subTest(line),
                  socket.create_server(('127.0.0.1', 0)) as server):
                thread = threading.Thread(target=answer, args=(server, line))
                thread.start()
                self.useFixture(fixtures.MockPatchObject(
                    instance, '_METADATA',
                    f'http://127.0.0.1:{server.getsockname()[1]}/'))
                self.assertFalse(instance.ask_metadata())
                thread.join()


def answer(server, line):
    """To one client, after its question."""
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(line)


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


class Containerd:
    def __init__(self, snapshotters=(), error=None):
        self._snapshotters = snapshotters
        self._error = error

    def version(self):
        if self._error:
            raise self._error
        return '1.7.24'

    def snapshotters(self):
        return self._snapshotters


class TestContainerd(CheckTestCase):
    def probe(self, *args, **kwargs):
        return hosts.recorded(self).probe(
            containerd_client=Containerd(*args, **kwargs))

    def test_snapshotters(self):
        host = self.probe(['overlayfs', 'devmapper'])
        self.assertEqual((2, ('devmapper', 'overlayfs')), (
            host.containerd.config_version, host.containerd.snapshotters))
        found = caps.capabilities(host, allow_emulation=False)
        self.assertTrue(found[caps.DEVMAPPER].present)

    def test_firecracker_needs_devmapper(self):
        found = caps.capabilities(self.probe(['overlayfs']),
                                  allow_emulation=False)
        self.assertFalse(found[caps.DEVMAPPER].present)
        self.assertIn('thin pool', found[caps.DEVMAPPER].remedy)

    def test_it_does_not_answer(self):
        found = self.probe(error=exception.ContainerdUnavailable(
            address='/no', why='it is stopped')).containerd
        self.assertFalse(found.reachable)
        self.assertIn('it is stopped', found.reason)

    def test_nobody_asked(self):
        self.assertIsNone(self.host().containerd)


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


class TestKata(CheckTestCase):
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
        """What is told of clh; all others are as they were."""
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
        path.mkdir()  # root can read any file, but no folder as one
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
                self.assertIn(f'{self.root / name} names what is not there',
                              problem)
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
        # the wrapper, what it starts, and what leaves its session and
        # holds its output
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
        self.useFixture(fixtures.MockPatchObject(versions, 'TIMEOUT', 0.5))
        hanging = [self.write(f'bin/{name}', '#!/bin/sh\nsleep 6\n')
                   for name in 'abcd']
        clh = self.root / 'bin/clh'
        for path in hanging:
            path.chmod(0o755)
        told = versions.check([*hanging, clh], {})
        self.assertEqual('51.1.0', told.pop(str(clh)))
        self.assertEqual({''}, set(told.values()))


def running(pid):
    """A process that was killed may be left as a zombie."""
    try:
        stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(')')[2].split()[0] not in 'ZX'


class TestUnreadable(base.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())

    def test_one_line_and_the_rest_goes_on(self):
        record = hosts.recorded(self)
        path = record.root / 'proc/meminfo'
        path.mkdir()  # root can read any file, but no folder as one
        for _ in range(2):
            host = record.probe()
            self.assertEqual((f'{path} cannot be read: is a directory',),
                             host.unreadable)
        self.assertEqual('hardware', host.kvm.state)
        self.assertEqual(1, self.log.output.count('meminfo'))
        self.assertIn('unreadable', [f.name for f in host.findings()])

    def test_what_is_not_there_is_no_complaint(self):
        roots = host_roots.Roots()
        self.assertEqual('', roots.read(pathlib.Path('/no/such/file')))
        self.assertEqual([], roots.names(pathlib.Path('/no/such/folder')))
        self.assertEqual([], roots.unreadable)
