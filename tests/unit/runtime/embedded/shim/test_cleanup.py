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

"""The clean-up ends the processes of its sandbox, and no others."""

import dataclasses
import errno
import os
import pathlib
import subprocess
import time
from unittest import mock

import fixtures

from kata_openstack.runtime.embedded.common import mounts
from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.embedded.shim import bootstrap
from kata_openstack.runtime.embedded.shim import cleanup
from kata_openstack.runtime.embedded.shim import start_failed
from kata_openstack.runtime.embedded.shim import state
from tests.unit import base
from tests.unit.runtime.embedded.vm import test_placing


def note(**values):
    return state.State(**{
        'sandbox': 'abc', 'namespace': 'n', 'folder': '/f',
        'socket': '/none/s', 'cgroup': '/kata-none/g', 'ram': '/none/r',
        'memory_mib': 256, 'accelerator': 'tcg', 'vcpus': 1,
        'uid': os.getuid(), **values})


class TestEndRecorded(base.TestCase):
    def ends(self, role, words, **values):
        """Return whether a process with these words is ended."""
        process = subprocess.Popen(
            [*words, '1000'], executable='/bin/sleep')
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        told = pathlib.Path(f'/proc/{process.pid}/cmdline')
        while not told.read_bytes():  # the kernel is still starting it
            time.sleep(0.001)
        cleanup._end_recorded(note(**{role: process.pid, **values}))
        return not os.path.exists(f'/proc/{process.pid}')

    def test_its_own(self):
        self.assertTrue(self.ends('qemu', ['/usr/bin/qemu-system-x86_64']))
        for role, words in (('shim', 'shim -id abc'),
                            ('virtiofsd', 'virtiofsd source=/f/abc'),
                            ('virtiofsd_live', 'virtiofsd source=/f/abc')):
            self.assertTrue(self.ends(role, [words]))

    def test_a_reused_pid(self):
        """Another VM has another user, another shim another sandbox."""
        self.assertFalse(self.ends('qemu', ['/usr/bin/qemu-system-x86_64'],
                                   uid=os.getuid() + 1))
        self.assertFalse(self.ends('qemu', ['vim']))
        self.assertFalse(self.ends('shim', ['shim -id xyz']))
        self.assertFalse(self.ends('virtiofsd', ['vim /f/abc']))


class TestNamespaces(base.TestCase):
    """Two containerd namespaces may have a container of one ID."""

    def setUp(self):
        super().setUp()
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.conf = test_placing.config(run_path=str(root))
        self.folder = root / 'abc'
        self.folder.mkdir()

    def save(self, **values):
        note(folder=str(self.folder), **values).save()

    def shim(self):
        process = subprocess.Popen(['shim -id abc', '1000'],
                                   executable='/bin/sleep')
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        told = pathlib.Path(f'/proc/{process.pid}/cmdline')
        while not told.read_bytes():  # the kernel is still starting it
            time.sleep(0.001)
        return process.pid

    def test_a_second_sandbox_is_refused_while_the_first_runs(self):
        self.save(shim=self.shim())
        bootstrap._check_unique(self.conf, 'n', 'abc')
        bootstrap._check_unique(self.conf, 'other', 'xyz')
        error = self.assertRaises(
            start_failed.StartFailed, bootstrap._check_unique, self.conf,
            'other', 'abc')
        self.assertIn('in use in the containerd namespace n,', str(error))

    def test_it_may_come_while_a_template_is_made(self):
        pid = self.shim()

        def make(*_):
            self.save(shim=pid)
            return mock.Mock()
        before = os.getcwd()
        os.chdir(self.useFixture(fixtures.TempDir()).path)  # the bundle
        self.addCleanup(os.chdir, before)
        conf = dataclasses.replace(self.conf, protocol=protocol.VERSION)
        conf.save('embedded.json')
        with (mock.patch.object(bootstrap, 'read_options', lambda data:
                                os.path.abspath('embedded.json')),
              mock.patch.object(bootstrap.sys, 'stdin'),
              mock.patch.object(bootstrap.vm_memory, 'ensure'),
              mock.patch.object(bootstrap.template.Template, 'open', make),
              mock.patch.object(cleanup, 'clean_up') as clean_up):
            self.assertRaises(start_failed.StartFailed, bootstrap.start,
                              'other', 'abc', False, {})
        clean_up.assert_not_called()

    def test_what_a_dead_shim_left_does_not_block_the_id(self):
        for pid in (0, 1 << 22):
            self.save(shim=pid)
            bootstrap._check_unique(self.conf, 'other', 'abc')

    def test_a_clean_up_spares_the_sandbox_of_another_namespace(self):
        self.save()
        cleanup.clean_up(self.conf, 'abc', '/kata-none/x', 'other')
        self.assertTrue((self.folder / 'state.json').exists())
        for namespace in ('n', ''):
            self.folder.mkdir(exist_ok=True)
            self.save()
            cleanup.clean_up(self.conf, 'abc', '/kata-none/x', namespace)
            self.assertFalse(self.folder.exists(), namespace)


class TestHalfMadeContainer(base.TestCase):
    """The shim, or its clean-up, was killed during a Create."""

    def test_staged_mounts_and_their_folders_are_removed(self):
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        conf = test_placing.config(run_path=str(root))
        folder = root / 'abc'
        for name in ('mounts/.volumes', 'mounts/c/rootfs', 'mounts/c/m3',
                     'stage/rootfs', 'live/mounts/.volumes', 'live/stage'):
            (folder / name).mkdir(parents=True)
        for name in ('mounts/.volumes/1', 'live/stage/2'):
            (folder / name).touch()
        note(folder=str(folder)).save()
        mounted = [f'{folder}/{name}' for name in (
            'mounts', 'mounts/c/rootfs', 'mounts/c/m3', 'stage',
            'stage/rootfs', 'live/mounts', 'live/stage', 'live/stage/2')]
        other = f'{root}/abcd/mounts'

        def read_table(*folders):
            return [point for point in [*mounted, other][::-1] if any(
                point == name or point.startswith(f'{name}/')
                for name in folders)]

        def umount(point, flags):
            # the kernel also removes the mounts below it
            if point not in mounted:
                raise OSError(errno.EINVAL, 'not mounted')
            mounted[:] = [found for found in mounted if found != point
                          and not found.startswith(f'{point}/')]
        with (mock.patch.object(mounts, 'below', read_table),
              mock.patch.object(mounts.syscalls, 'umount', umount)):
            with mock.patch.object(cleanup.shutil, 'rmtree',
                                   side_effect=KeyboardInterrupt):
                # killed late: the next one must still find the state
                self.assertRaises(KeyboardInterrupt, cleanup.clean_up, conf,
                                  'abc', '/kata-none/x')
            self.assertTrue((folder / 'state.json').exists())
            cleanup.clean_up(conf, 'abc', '/kata-none/x', 'n')
        self.assertEqual([], mounted)
        self.assertFalse(folder.exists())

    def test_what_cannot_be_unmounted_is_never_removed(self):
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        conf = test_placing.config(run_path=str(root))
        volume = root / 'abc/stage/1'
        volume.mkdir(parents=True)
        (volume / 'data').write_text('of a tenant')
        note(folder=str(root / 'abc')).save()
        with (mock.patch.object(mounts, 'below', return_value=[str(volume)]),
              mock.patch.object(mounts.syscalls, 'umount',
                                side_effect=OSError(errno.EBUSY, 'busy'))):
            cleanup.clean_up(conf, 'abc', '/kata-none/x', 'n')
        self.assertEqual('of a tenant', (volume / 'data').read_text())
