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

import os
import pathlib
import socket
import stat
import threading

import fixtures

from kata_openstack.runtime.host.checks import kvm
from kata_openstack.runtime.host import facts
from tests.unit import base
from tests.unit.runtime.host import hosts


class TestKvm(base.TestCase):
    def state(self, **kwargs):
        return hosts.recorded(self, **kwargs).probe().kvm

    def test_hardware(self):
        found = self.state()
        self.assertEqual('hardware', found.state)
        self.assertTrue(found.usable)
        self.assertEqual(2989781022, found.iterations_per_second)
        self.assertEqual('', found.remedy)

    def test_svm_emulated_by_qemu_is_worth_having(self):
        self.assertEqual(
            'hardware', self.state(measured=hosts.EMULATED_SVM).state)

    def test_interpreting_kvm_is_not_usable(self):
        found = self.state(measured=hosts.INTERPRETING)
        self.assertEqual('emulated', found.state)
        self.assertFalse(found.usable)
        self.assertIn('interpreted', found.reason)
        self.assertTrue(found.remedy)

    def test_without_a_native_loop_the_speed_alone_decides(self):
        for measured, state in ((hosts.HARDWARE, 'hardware'),
                                (hosts.INTERPRETING, 'emulated')):
            self.assertEqual(
                state, self.state(measured={**measured,
                                            'native': None}).state)

    def test_an_interrupted_loop_without_progress(self):
        guest = {'iterations': 0, 'seconds': 0.2, 'entry_seconds': 0.0,
                 'timed_out': True}
        found = self.state(measured={**hosts.HARDWARE, 'guest': guest})
        self.assertEqual('emulated', found.state)

    def test_absent_names_the_module(self):
        found = self.state(devices=(), measured=hosts.NEVER)
        self.assertEqual('absent', found.state)
        self.assertIn('modprobe kvm_intel', found.remedy)

    def test_absent_in_a_vm_names_the_hypervisor_below(self):
        found = self.state(devices=(), flags='fpu hypervisor')
        self.assertEqual('absent', found.state)
        self.assertIn('nested virtualization', found.remedy)

    def test_a_node_without_a_driver_is_absent(self):
        self.assertEqual('absent', self.state(
            measured={'failed': 'open', 'why': 'No such device',
                      'errno': 19}).state)

    def test_denied(self):
        found = self.state(measured={'failed': 'open', 'errno': 13,
                                     'why': 'Permission denied'})
        self.assertEqual('denied', found.state)
        self.assertIn('group', found.remedy)

    def test_broken_names_the_ioctl(self):
        found = self.state(measured={
            'failed': 'KVM_CREATE_VM', 'why': 'Cannot allocate memory',
            'api_version': 12})
        self.assertEqual('broken', found.state)
        self.assertEqual('KVM_CREATE_VM', found.failed)
        self.assertIn('KVM_CREATE_VM', found.reason)

    def test_an_architecture_without_a_test_guest(self):
        found = self.state(architecture='aarch64', measured=hosts.NEVER)
        self.assertEqual('unknown', found.state)
        self.assertFalse(found.usable)


class TestRunGuest(base.TestCase):
    """The measuring program itself, on the machine of the test."""

    def test_this_machine(self):
        if not os.access('/dev/kvm', os.R_OK | os.W_OK):
            self.skipTest('there is no /dev/kvm here')
        answer = kvm.run_guest(pathlib.Path('/dev/kvm'))
        self.assertNotIn('failed', answer)
        self.assertGreater(answer['guest']['iterations'], 0)
        self.assertGreater(answer['native']['iterations'], 0)

    def test_not_a_kvm(self):
        answer = kvm.run_guest(pathlib.Path('/dev/null'))
        self.assertEqual('KVM_GET_API_VERSION', answer['failed'])

    def test_not_a_device(self):
        path = hosts.recorded(self).root / 'socket'
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
        self.assertEqual('open', kvm.run_guest(path)['failed'])

    def test_a_guest_that_crashes(self):
        folder = hosts.recorded(self).root
        script = folder / 'guest.py'
        script.write_text('raise RuntimeError("it broke")')
        self.useFixture(fixtures.MockPatchObject(kvm, '_GUEST', script))
        answer = kvm.run_guest(pathlib.Path('/dev/null'))
        self.assertEqual('KVM_RUN', answer['failed'])
        self.assertIn('it broke', answer['why'])

    def test_a_guest_that_hangs_is_ended(self):
        folder = hosts.recorded(self).root
        script = folder / 'guest.py'
        script.write_text('import time; time.sleep(60)')
        self.useFixture(fixtures.MockPatchObject(kvm, '_GUEST', script))
        self.useFixture(fixtures.MockPatchObject(kvm, 'TIMEOUT', 0.2))
        answer = kvm.run_guest(pathlib.Path('/dev/null'))
        self.assertIn('did not end', answer['why'])


class TestHost(base.TestCase):
    def test_cpu(self):
        host = hosts.recorded(self, flags='fpu svm hypervisor',
                              vendor='AuthenticAMD').probe()
        self.assertTrue(host.nested)
        self.assertEqual(
            facts.Cpu(architecture='x86_64', vendor='AuthenticAMD',
                      model='Some CPU', count=2, virtualization='svm',
                      nested=True, level=1, hypervisor='unknown'),
            host.cpu)

    def test_an_empty_host_is_no_error(self):
        empty = hosts.recorded(self, devices=())
        for path in sorted(empty.root.rglob('*'), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        host = empty.probe()
        self.assertEqual('absent', host.kvm.state)
        self.assertEqual('absent', host.tun.state)
        self.assertIsNone(host.qemu.path)
        self.assertEqual((), host.kata)
        self.assertEqual('', host.boot_id)

    def test_devices(self):
        host = hosts.recorded(self, devices=('net/tun',)).probe()
        self.assertTrue(host.tun.usable)
        self.assertEqual('absent', host.vhost_vsock.state)
        self.assertIn('vhost_vsock', host.vhost_vsock.remedy)

    def test_a_device_that_does_not_open(self):
        record = hosts.recorded(self)
        node = record.root / 'dev/vhost-vsock'
        node.unlink()
        node.mkdir()
        self.assertEqual('broken', record.probe().vhost_vsock.state)

    def test_programs(self):
        record = hosts.recorded(self, **hosts.QEMU)
        host = record.probe()
        self.assertEqual(record.root / 'bin/qemu-system-x86_64',
                         host.qemu.path)
        self.assertEqual(record.root / 'bin/virtiofsd',
                         host.virtiofsd.path)

    def test_the_program_that_the_operator_names(self):
        record = hosts.recorded(self, **hosts.QEMU)
        record.qemu = record.root / 'bin/my-qemu'
        self.assertIn('my-qemu', record.probe().qemu.reason)
        self.assertFalse(record.probe().qemu.usable)
        record.qemu = record.root / 'bin/virtiofsd'  # any program
        self.assertEqual(record.qemu, record.probe().qemu.path)

        self.assertEqual('', record.probe().qemu.remedy)

    def test_the_remedy_for_a_wrong_path_is_the_option(self):
        record = hosts.recorded(self, **hosts.QEMU)
        record.qemu = record.root / 'bin/my-qemu'
        remedy = record.probe().qemu.remedy
        self.assertIn('[embedded] qemu_path', remedy)
        self.assertNotIn('apt-get', remedy)

    def test_a_missing_program_names_its_package(self):
        self.assertIn('qemu-system-arm', hosts.recorded(
            self, architecture='aarch64').probe().qemu.remedy)

    def test_the_package_of_virtiofsd_depends_on_the_release(self):
        for release, package in (
                ('ID=debian\nVERSION_ID="11"\n', 'qemu-system-common'),
                ('ID=debian\n', 'virtiofsd'),  # unstable
                ('ID=ubuntu\nVERSION_ID="22.04"\n', 'qemu-system-common'),
                ('ID=mint\n', 'virtiofsd, or qemu-system-common where QEMU '
                 'is older than 8.0'),
                ('', 'virtiofsd, or qemu-system-common where QEMU is older '
                 'than 8.0')):
            for place in ('etc', 'usr/lib'):
                found = hosts.recorded(self, files={
                    f'{place}/os-release': release}).probe().virtiofsd
                self.assertEqual(f'Install it: apt-get install {package}',
                                 found.remedy)
                self.assertRegex(found.reason, 'PATH, .*/usr/libexec, ')

    def test_kata(self):
        record = hosts.recorded(self, kata=hosts.KATA_GO + hosts.KATA_RUST)
        shims = {s.name: s for s in record.probe().kata}
        self.assertEqual(
            {'qemu', 'clh', 'qemu-runtime-rs', 'clh-runtime-rs'}, set(shims))
        self.assertEqual(
            record.root / 'kata/runtime-rs/bin/containerd-shim-kata-v2',
            shims['clh-runtime-rs'].runtime_path)
        self.assertIn('runtimes/clh-runtime-rs/',
                      str(shims['clh-runtime-rs'].config_path))

    def test_kata_without_its_shim_is_not_installed(self):
        self.assertEqual((), hosts.recorded(
            self, kata=hosts.KATA_GO[1:]).probe().kata)


class TestLimit(base.TestCase):
    """A check that hangs adds one line; the other checks go on."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.host.probe.LIMIT', 0.05))
        self.never = threading.Event()
        self.addCleanup(self.never.set)

    def test_each_check(self):
        for module, check in (
                ('memory', 'memory'), ('iommu', 'iommu'), ('tee', 'tee'),
                ('cgroup', 'cgroup'), ('instance', 'instance'),
                ('modules', 'modules'), ('kata', 'kata'), ('cpu', 'cpu'),
                ('devices.mshv', 'mshv'), ('devices.vhost_vsock',
                                           'vhost_vsock'),
                ('devices.vhost_net', 'vhost_net'), ('devices.tun', 'tun'),
                ('devices.peer_pods', 'peer_pods'),
                ('programs.qemu', 'programs')):
            name = module if '.' in module else f'{module}.check'
            with fixtures.MonkeyPatch(
                    f'kata_openstack.runtime.host.checks.{name}',
                    lambda *args: self.never.wait()):
                found = hosts.recorded(self, **hosts.QEMU).probe()
            # on a busy machine, other checks may time out too
            self.assertIn(f'the check of {check} hangs', found.unreadable)
            self.assertEqual('hardware', found.kvm.state)
            told = {part.name: part for part in found.findings()}
            if check in ('cpu', 'modules', 'kata'):
                continue  # they have no finding of their own
            part = told['qemu' if check == 'programs' else check]
            self.assertIn('did not end', part.reason)
            self.assertIn('dmesg', part.remedy)


class TestCache(base.TestCase):
    def setUp(self):
        super().setUp()
        self.record = hosts.recorded(self)
        self.cache = self.record.root / 'run/kvm.json'

    def probe(self, **kwargs):
        return self.record.probe(cache=self.cache, **kwargs)

    def test_measured_once_a_boot(self):
        first = self.probe()
        self.assertEqual(first.kvm, self.probe().kvm)
        self.assertEqual(1, self.record.measurements)
        self.assertEqual(0o600, stat.S_IMODE(self.cache.stat().st_mode))
        (self.record.root / 'proc/sys/kernel/random/boot_id').write_text('2')
        self.probe()
        self.assertEqual(2, self.record.measurements)

    def test_refreshed_on_request(self):
        self.probe()
        self.record.measured = hosts.INTERPRETING
        self.assertEqual('emulated', self.probe(refresh=True).kvm.state)
        self.assertEqual('emulated', self.probe().kvm.state)
        self.assertEqual(2, self.record.measurements)

    def test_measured_twice_where_it_may_be_a_busy_moment(self):
        self.record.measured = hosts.DOUBTFUL
        self.assertEqual('emulated', self.probe().kvm.state)
        self.assertEqual(2, self.record.measurements)

    def test_measured_once_where_it_is_clearly_slow(self):
        self.record.measured = hosts.INTERPRETING
        self.assertEqual('emulated', self.probe().kvm.state)
        self.assertEqual(1, self.record.measurements)

    def measured(self, *answers):
        """Probe; each measurement gets the next answer."""
        left = list(answers)
        found = self.probe(measure=lambda path: left.pop(0)).kvm
        self.assertEqual([], left)
        return found

    def test_emulated_is_kept_if_a_second_measurement_agrees(self):
        better = {**hosts.DOUBTFUL, 'guest': {
            **hosts.DOUBTFUL['guest'], 'iterations': 500000}}
        for answers in ((hosts.DOUBTFUL, better),
                        (better, hosts.DOUBTFUL)):
            self.cache.unlink(missing_ok=True)
            found = self.measured(*answers)
            self.assertEqual(('emulated', 48076923), (
                found.state, found.iterations_per_second))
            self.assertEqual(found, self.measured())

    def test_emulated_by_a_busy_moment_only(self):
        found = self.measured(hosts.DOUBTFUL, hosts.HARDWARE)
        self.assertEqual('hardware', found.state)
        self.assertEqual(found, self.measured())

    def test_emulated_is_not_kept_if_the_second_measurement_fails(self):
        found = self.measured(hosts.DOUBTFUL, hosts.NEVER)
        self.assertEqual('emulated', found.state)
        self.assertFalse(self.cache.exists())
        self.assertEqual('hardware', self.measured(hosts.HARDWARE).state)

    def test_measured_again_for_another_device_node(self):
        self.probe()
        (self.record.root / 'dev/kvm').chmod(0o600)
        self.probe()
        self.assertEqual(2, self.record.measurements)

    def test_a_failure_is_not_kept(self):
        self.record.measured = hosts.NEVER
        self.probe()
        self.assertFalse(self.cache.exists())

    def test_garbage_is_measured_again(self):
        for garbage in ('', '{', '[]', '{"key": 1}', '\0'):
            self.cache.parent.mkdir(exist_ok=True)
            self.cache.write_text(garbage)
            self.assertEqual('hardware', self.probe().kvm.state)
        self.assertEqual(5, self.record.measurements)

    def test_a_cache_that_cannot_be_written(self):
        self.cache = self.record.root / 'proc/cpuinfo/kvm.json'
        self.assertEqual('hardware', self.probe().kvm.state)
