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

"""Size, user, cgroup and command line of a sandbox on the host."""

import concurrent.futures
import contextlib
import os
import tempfile
import threading
from unittest import mock

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.vm import machine
from kata_openstack.runtime.embedded.vm import pod_cgroup
from kata_openstack.runtime.embedded.vm import qemu
from kata_openstack.runtime.embedded.vm import ram
from kata_openstack.runtime.embedded.vm import size
from kata_openstack.runtime.embedded.vm import users
from tests.unit import base


def config(**values):
    return settings.Settings(**{
        'accelerator': 'tcg', 'run_path': '/run/x', 'state_path': '/lib/x',
        'qemu': '/usr/bin/qemu',
        'virtiofsd': '/usr/lib/virtiofsd', 'kernel': '/k', 'initrd': '/i',
        'kernel_release': '6.1', 'image_key': 'key', 'max_memory_mib': 3000,
        'memory_mib': 4000, 'template_memory_mib': 512,
        'max_vcpus': 4, 'guest_overhead_mib': 96, 'first_uid': 100000,
        'uids': 4, **values})


class TestSettings(base.TestCase):
    def test_a_file_keeps_them(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f'{folder}/embedded.json'
            config(debug=True).save(path)
            self.assertEqual(config(debug=True),
                             settings.Settings.load(path))
            self.assertEqual(['embedded.json'], os.listdir(folder))


class TestSize(base.TestCase):
    def choose(self, memory_mib=None, quota=None, period=None):
        prefix = 'io.kubernetes.cri.sandbox-'
        asked = {'memory': memory_mib and memory_mib * size.MIB,
                 'cpu-quota': quota, 'cpu-period': period}
        return size.choose({prefix + key: str(value)
                            for key, value in asked.items()
                            if value is not None}, config())

    def test_memory(self):
        for asked, given in ((None, 256), (0, 256), (1, 256), (160, 256),
                             (161, 320), (224, 320), (225, 384),
                             (416, 512), (417, 640), (1000, 1280),
                             (2904, 3000)):  # the limit, no class
            self.assertEqual(given, self.choose(asked).memory_mib, asked)

    def test_a_pod_costs_little_more_than_it_asks_for(self):
        overhead = (size._SMALLEST_MIB, size.HOST_OVERHEAD_MIB)
        for asked in range(1, 2000):
            cost = self.choose(asked).memory_mib + size.HOST_OVERHEAD_MIB
            self.assertLessEqual(cost, 1.3 * asked + sum(overhead), asked)

    def test_too_much_memory_is_refused_and_named(self):
        error = self.assertRaises(size.TooBig, self.choose, 2905)
        self.assertIn('needs 3001 MiB', str(error))
        self.assertIn('allows 3000 MiB', str(error))

    def test_processors(self):
        for quota, period, given in (
                (None, None, 1), (50000, 100000, 1), (150000, 100000, 2),
                (250000, 100000, 4),
                (900000, 100000, 4), (-1, 100000, 1), (100000, 0, 1)):
            self.assertEqual(given, self.choose(None, quota, period).vcpus)

    def test_garbage_is_as_nothing(self):
        self.assertEqual(size.Size(256, 1), self.choose(None, 'x', 'y'))


class TestUsers(base.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.config = config(run_path=folder.name)

    def take(self, sandbox):
        os.makedirs(self.config.sandbox_path(sandbox), exist_ok=True)
        return users.take(self.config, sandbox)

    def test_each_has_its_own(self):
        taken = {self.take(name) for name in ('a', 'b', 'c')}
        self.assertEqual({100001, 100002, 100003}, taken)
        self.assertNotIn(users.template_uid(self.config), taken)
        self.assertRaises(users.NoUserLeft, self.take, 'd')

    def test_the_same_sandbox_may_ask_again(self):
        uid = self.take('a')
        self.assertEqual(uid, self.take('a'))

    def test_a_released_one_can_be_taken(self):
        for name in ('a', 'b', 'c'):
            uid = self.take(name)
        users.release(self.config, uid)
        users.release(self.config, uid)
        self.assertEqual(uid, self.take('d'))

    def test_one_of_a_sandbox_that_is_gone_can_be_taken(self):
        for name in ('a', 'b', 'c'):
            self.take(name)
        os.rmdir(self.config.sandbox_path('b'))
        self.assertIsNotNone(self.take('d'))

    def test_two_do_not_take_the_same_stale_one(self):
        for name in ('a', 'b', 'c'):
            self.take(name)
        for name in ('a', 'b', 'c'):
            os.rmdir(self.config.sandbox_path(name))
        both = threading.Barrier(2)
        real = users._stale

        def stale(config, path, sandbox):
            found = real(config, path, sandbox)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.5)  # until the other taker has looked, too
            return found

        with (mock.patch.object(users, '_stale', stale),
              mock.patch.object(users.zlib, 'crc32', return_value=0),
              concurrent.futures.ThreadPoolExecutor() as threads):
            uids = list(threads.map(self.take, ('d', 'e')))
        self.assertEqual(2, len(set(uids)), uids)


class TestCgroupPath(base.TestCase):
    def test_paths(self):
        for given, path in (
                ('/k8s.io/abc', '/k8s.io/abc'), ('k8s.io/abc', '/k8s.io/abc'),
                ('system.slice:cri:abc', '/system.slice/cri-abc.scope'),
                ('kubepods-burstable-pod1_2.slice:cri:abc',
                 '/kubepods.slice/kubepods-burstable.slice/'
                 'kubepods-burstable-pod1_2.slice/cri-abc.scope'),
                ('-.slice:cri:abc', '/cri-abc.scope'),
                (':cri:abc', '/cri-abc.scope'),
                ('../a-b.slice:cri:abc', '/kata-openstack/id'),
                ('', '/kata-openstack/id'), ('/', '/kata-openstack/id'),
                ('/a/../../b', '/kata-openstack/id')):
            self.assertEqual(path, pod_cgroup.path_of(
                {'linux': {'cgroupsPath': given}}, 'id'))
        self.assertEqual('/kata-openstack/id', pod_cgroup.path_of({}, 'id'))


class TestQemu(base.TestCase):
    @staticmethod
    def _cpu(accelerator, **values):
        argv = qemu.base('qemu', config(accelerator=accelerator, **values),
                         size.Size(256, 2), 3, 4)
        return argv[argv.index('-cpu') + 1]

    def test_a_guest_does_not_get_hidden_features(self):
        self.assertEqual('host,vmx=off,pmu=off', self._cpu(
            'kvm', hidden_cpu_features=['vmx', 'pmu']))
        self.assertTrue(self._cpu('tcg', hidden_cpu_features=['svm'])
                        .endswith(',svm=off'))

    def test_the_cpu_is_the_hosts_with_kvm_only(self):
        for accelerator, cpu in (('kvm', 'host'),
                                 ('tcg', 'max,-erms,-fsrm')):
            self.assertEqual(cpu, self._cpu(accelerator))
        self.assertEqual(['/dev/kvm'], qemu.devices('kvm'))
        self.assertEqual([], qemu.devices('tcg'))

    def test_no_core_file_holds_the_guests_memory(self):
        argv = qemu.base('qemu', config(accelerator='kvm'), size.Size(256, 2), 3, 4)
        self.assertIn('dump-guest-core=off',
                      argv[argv.index('-machine') + 1].split(','))

    def test_a_shared_host_keeps_the_guests_protections(self):
        weak = ('mitigations=off', 'nokaslr')
        self.assertFalse([word for word in weak
                          if word in qemu.boot('kvm', 'k', 'i')[-1]])
        self.assertTrue(all(word in qemu.boot('tcg', 'k', 'i')[-1]
                            for word in weak))
        # the programs of tenants keep their random addresses
        self.assertNotIn('norandmaps', qemu.boot('tcg', 'k', 'i')[-1])

    def test_a_guest_keeps_no_files_for_tracing(self) -> None:
        for accelerator in ('kvm', 'tcg'):
            words = qemu.boot(accelerator, 'k', 'i')[-1].split()
            self.assertIn('initcall_blacklist=tracer_init_tracefs', words)
            self.assertIn('lsm=landlock,yama', words)

    def test_only_an_emulator_goes_without_huge_pages(self):
        for accelerator, times in (('kvm', 0), ('tcg', 1)):
            with (tempfile.TemporaryDirectory() as folder,
                  mock.patch.object(machine.launch, 'spawn') as spawn,
                  mock.patch.object(machine.jail, 'enter') as enter,
                  mock.patch.object(machine.syscalls, 'no_huge_pages')
                  as without):
                _, *sockets = machine.start_qemu(
                    config(accelerator=accelerator), size.Size(256, 1), 7,
                    folder, {}, [], [])
                for end in sockets:
                    end.close()
                spawn.call_args.kwargs['confine']()
            self.assertEqual(times, without.call_count)
            self.assertEqual((f'{folder}/root', 7), enter.call_args.args[:2])

    def test_an_emulated_guest_overwrites_a_page_before_virtiofsd_does(self):
        words = qemu.boot('tcg', 'k', 'i')[-1].split()
        self.assertEqual(['init_on_alloc=1'],
                         [w for w in words if w.startswith('init_on_')])

    def test_each_nic_has_a_slot(self):
        nics = [qemu.Nic(tap=20 + n, mac=f'52:54:00:00:00:{n:02x}')
                for n in range(qemu.MAX_NICS)]
        argv = qemu.restore(7, nics)
        slots = {word.partition('addr=')[2] for word in argv
                 if 'virtio-net' in word}
        self.assertEqual(qemu.MAX_NICS, len(slots))
        self.assertTrue(all(int(slot, 16) < 0x1F for slot in slots))


class TestRam(base.TestCase):
    def test_a_copy_has_the_same_holes(self):
        with tempfile.TemporaryDirectory() as folder:
            first = ram.create(f'{folder}/a', 8 * size.MIB, os.getuid())
            os.pwrite(first, b'one', 0)
            os.pwrite(first, b'two' * 5000, 3 * size.MIB + 5)
            second = ram.create(f'{folder}/b', 8 * size.MIB, os.getuid())
            ram.copy(first, second)
            self.assertTrue(os.pread(first, 8 * size.MIB, 0)
                            == os.pread(second, 8 * size.MIB, 0))
            self.assertEqual(os.fstat(first).st_blocks,
                             os.fstat(second).st_blocks)
            self.assertEqual(0o600, os.fstat(second).st_mode & 0o777)
            self.assertRaises(FileExistsError, ram.create, f'{folder}/a', 1,
                              os.getuid())
            os.close(first)
            os.close(second)

    def test_zeros_become_holes(self):
        with tempfile.TemporaryDirectory() as folder:
            fd = ram.create(f'{folder}/a', size.MIB, os.getuid())
            self.addCleanup(os.close, fd)
            os.pwrite(fd, bytes(64 * 4096), 0)
            os.pwrite(fd, b'x', 3 * 4096 + 5)
            before = os.pread(fd, size.MIB, 0)
            ram.drop_zeros(f'{folder}/a')
            self.assertEqual(before, os.pread(fd, size.MIB, 0))
            self.assertEqual(4096, os.fstat(fd).st_blocks * 512)
