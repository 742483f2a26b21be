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

"""Memory that VMs reserve, and templates that share a budget."""

import dataclasses
import os
import tempfile
from unittest import mock

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.vm import size as sizes
from kata_openstack.runtime.embedded.vm.templates import make_template
from kata_openstack.runtime.embedded.vm.templates import template
from kata_openstack.runtime.embedded.vm import vm_memory
from tests.unit import base
from tests.unit.runtime.embedded.vm import test_placing


class MemoryTestCase(base.TestCase):
    """A plain folder stands in for the tmpfs, which only root can mount."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.config = test_placing.config(
            run_path=folder.name, state_path=folder.name, qemu='/bin/sh',
            memory_mib=1500, template_memory_mib=500)
        os.mkdir(self.config.memory_path)

    def left(self):
        return sorted(os.listdir(self.config.memory_path))


class TestReservations(MemoryTestCase):
    def reserve(self, name, mib):
        os.makedirs(self.config.sandbox_path(name), exist_ok=True)
        vm_memory.reserve(self.config, name, mib)

    def test_all_together_have_a_limit(self):
        self.reserve('a', 600)
        self.reserve('b', 400)
        error = self.assertRaises(vm_memory.NoMemory, self.reserve, 'c', 1)
        self.assertIn('needs 1 MiB', str(error))
        self.assertIn('of the 1000 MiB', str(error))
        self.assertIn('other VMs have 1000 MiB', str(error))
        vm_memory.release(self.config, 'a')
        vm_memory.release(self.config, 'a')
        self.reserve('c', 600)

    def test_the_same_sandbox_may_ask_again(self):
        self.reserve('a', 600)
        self.reserve('a', 700)
        self.reserve('b', 300)
        self.assertEqual(['reserved-300-b', 'reserved-700-a'], self.left())

    def test_a_sandbox_that_is_gone_has_none(self):
        self.reserve('a-b-c', 900)
        os.rmdir(self.config.sandbox_path('a-b-c'))
        self.reserve('d', 900)
        self.assertEqual(['reserved-900-d'], self.left())

    def test_other_files_do_not_count(self):
        for name in ('vm-a', 'template-256m1c-x', 'reserved-x-a', 'reserved'):
            open(f'{self.config.memory_path}/{name}', 'w').close()
        self.reserve('a', 1000)

    def test_nothing_is_reserved_before_the_tmpfs_is_there(self):
        os.rmdir(self.config.memory_path)
        vm_memory.release(self.config, 'a')

    def test_only_root_can_take_the_lock(self):
        with vm_memory.lock(self.config):
            path = f'{self.config.run_path}/lock'
            self.assertEqual(0o600, os.stat(path).st_mode & 0o777)


class TestTmpfs(MemoryTestCase):
    """How it is mounted. The functional tests mount it."""

    def mounts(self, *, mounted, size=1500):
        with mock.patch.object(vm_memory, '_mounted', return_value=mounted), \
                mock.patch.object(vm_memory, '_size_mib', return_value=size), \
                mock.patch.object(vm_memory.syscalls, 'mount') as mount:
            vm_memory.mount(self.config)
        return [call.args[3:] for call in mount.call_args_list]

    def test_it_is_mounted_for_root_only(self):
        (flags, options), = self.mounts(mounted=False)
        self.assertEqual('size=1500m,mode=700', options)
        self.assertFalse(flags & vm_memory.syscalls.MS_REMOUNT)
        self.assertTrue(flags & vm_memory.syscalls.MS_NOSUID)

    def test_a_mounted_one_is_left_alone(self):
        self.assertEqual([], self.mounts(mounted=True))

    def test_another_size_is_set(self):
        (flags, options), = self.mounts(mounted=True, size=1400)
        self.assertEqual('size=1500m,mode=700', options)
        self.assertTrue(flags & vm_memory.syscalls.MS_REMOUNT)

    def test_a_folder_that_is_no_mount_is_told_apart(self):
        self.assertFalse(vm_memory._mounted(self.config))


class TemplateTestCase(MemoryTestCase):
    def make(self, mib, used_at, *, key='', bytes_=200 * sizes.MIB):
        found = template.Template(self.config, sizes.Size(mib, 1))
        if key:
            found.folder = found.folder.replace(found.key, key)
        os.mkdir(found.folder)
        for name in ('ram', 'state'):
            with open(f'{found.folder}/{name}', 'w') as file:
                file.write(name)
        os.posix_fallocate(os.open(f'{found.folder}/ram', os.O_RDWR), 0,
                           bytes_)
        os.utime(f'{found.folder}/ram', (used_at, used_at))
        return found

    def sizes(self):
        return [name.split('-')[1] for name in self.left()]

    def remove_unused(self):
        template.remove_unused(self.config)


class TestTemplates(TemplateTestCase):
    def test_the_least_recently_used_goes_first(self):
        for mib, used_at in ((256, 30), (512, 10), (1024, 20)):
            self.make(mib, used_at)
        self.remove_unused()
        self.assertEqual(['1024m1c', '256m1c'], self.sizes())
        self.assertLessEqual(sum(map(template._size,
                                     template._all(self.config))),
                             500 * sizes.MIB)

    def test_a_start_is_a_use(self):
        first = self.make(256, 10)
        self.make(512, 20)
        first.open().close()
        self.make(1024, 30)
        self.remove_unused()
        self.assertEqual(['1024m1c', '256m1c'], self.sizes())

    def test_an_outdated_one_goes(self):
        self.make(256, 10, bytes_=1)
        self.make(512, 20, bytes_=1, key='other')
        partial = self.make(1024, 30, bytes_=1)
        os.rename(partial.folder, partial.folder + template.PARTIAL)
        self.remove_unused()
        self.assertEqual(['256m1c'], self.sizes())

    def test_one_beyond_the_budget_serves_one_start(self):
        big = self.make(1024, 10, bytes_=501 * sizes.MIB)
        files = big.open()
        self.remove_unused()
        self.assertEqual([], self.left())
        self.assertEqual(b'state', os.pread(files.state, 10, 0))
        files.close()

    def test_one_half_of_it_is_none(self):
        found = template.Template(self.config, sizes.Size(256, 1))
        self.assertIsNone(found.open())
        os.mkdir(found.folder)
        open(f'{found.folder}/ram', 'w').close()
        self.assertIsNone(found.open())

    def test_those_of_the_guest_in_use_outlive_its_candidate(self):
        self.config.save(f'{self.config.state_path}/{settings.FILE}')
        self.make(256, 10, bytes_=1)
        in_use = self.config
        self.config = dataclasses.replace(in_use, image_key='new')
        self.make(256, 20, bytes_=1)
        self.remove_unused()
        self.assertEqual(['256m1c', '256m1c'], self.sizes())
        self.config.save(f'{self.config.state_path}/{settings.CANDIDATE}')
        self.config = in_use
        self.remove_unused()
        self.assertEqual(['256m1c', '256m1c'], self.sizes())
        os.unlink(f'{self.config.state_path}/{settings.CANDIDATE}')
        self.remove_unused()
        self.assertEqual(['256m1c'], self.sizes())


class TestRenewal(TemplateTestCase):
    """A template of a week is made again, while starts use it."""

    def boot(self, wanted, partial, folder):
        async def make():
            for name in ('ram', 'state'):
                with open(f'{partial}/{name}', 'w') as file:
                    file.write(f'new {name}')
        return make()

    def renew(self, found):
        with mock.patch.object(make_template, '_make', self.boot):
            make_template.renew(found)

    def read(self, files):
        text = [os.pread(fd, 20, 0).strip(b'\0').decode() for fd in files]
        files.close()
        return text

    def test_which_are_old(self):
        found = self.make(256, 10)
        self.make(512, 10, key='other')
        self.assertEqual([], template.older_than(self.config, 100))
        os.utime(f'{found.folder}/state', (1, 1))
        [old] = template.older_than(self.config, 100)
        self.assertEqual(found.folder, old.folder)

    def test_a_start_gets_both_files_of_one_template(self):
        found = self.make(256, 10, bytes_=10)
        before = found.open()
        real, swapped = os.open, []

        def open_(path, *args, **more):
            if path == 'state' and not swapped:
                swapped.append(1)
                self.renew(found)
            return real(path, *args, **more)
        with mock.patch.object(os, 'open', open_):
            between = found.open()
        self.assertEqual(['ram', 'state'], self.read(before))
        # the former one is gone: the start finds none, and then the new one
        self.assertIsNone(between)
        self.assertEqual(['new ram', 'new state'], self.read(found.open()))
        self.assertEqual(['256m1c'], self.sizes())

    def test_the_old_one_stays_after_a_failure(self):
        found = self.make(256, 10, bytes_=10)

        async def fail(wanted, partial, folder):
            raise OSError('no QEMU')
        with mock.patch.object(make_template, '_make', fail):
            self.assertRaises(template.NotMade, make_template.renew, found)
        self.assertEqual(['ram', 'state'], self.read(found.open()))
        self.assertEqual(['256m1c'], self.sizes())
