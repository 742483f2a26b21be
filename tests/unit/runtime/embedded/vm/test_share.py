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

import errno
import os
import threading
from unittest import mock

import fixtures

from kata_openstack.runtime.embedded.common import mounts
from kata_openstack.runtime.embedded.vm import machine
from kata_openstack.runtime.embedded.vm import share
from tests.unit import base

SNAPSHOTS = '/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs'


class TestCompact(base.TestCase):
    def test_relative_to_the_common_folder(self):
        folder, data = share.compact([
            'index=off', f'workdir={SNAPSHOTS}/3/work',
            f'upperdir={SNAPSHOTS}/3/fs',
            f'lowerdir={SNAPSHOTS}/2/fs:{SNAPSHOTS}/1/fs'])
        self.assertEqual(SNAPSHOTS, folder)
        self.assertEqual(['index=off', 'workdir=3/work', 'upperdir=3/fs',
                          'lowerdir=2/fs:1/fs'], data)

    def test_what_has_no_common_folder_stays(self):
        for data in (['lowerdir=/a/fs:/b/fs'], ['size=64k'], [],
                     ['lowerdir=a:b']):
            self.assertEqual(('/', data), share.compact(data))

    def test_never_cut_off(self):
        layers = ':'.join(f'/x/{number}/fs' for number in range(1000))
        error = self.assertRaises(OSError, share.compact,
                                  [f'lowerdir={layers}'])
        self.assertEqual(errno.E2BIG, error.errno)


class TestMountsBelow(base.TestCase):
    def test_names_of_all_kinds(self):
        lines = [f'{number} 1 0:1 / {point} rw - tmpfs tmpfs rw\n'
                 for number, point in enumerate((
                     '/s', r'/s/a\040b', '/s2', '/other\udcff', '/s/c'))]
        with mock.patch('builtins.open', mock.mock_open(
                read_data=''.join(lines))):
            self.assertEqual(['/s/c', '/s/a b', '/s'],
                             mounts.below('/s'))
            self.assertEqual(['/s2', '/s/a b', '/s'],
                             mounts.below('/s/a b', '/s2', '/s')[1:])

    def test_several_at_one_place(self):
        """A root file system may be made of mounts on top of each other."""
        with mock.patch.object(mounts.syscalls, 'umount', side_effect=[
                None, None, OSError(errno.EINVAL, 'none')]) as umount:
            mounts.detach('/s')
        self.assertEqual(3, umount.call_count)


class TestFolders(base.TestCase):
    """Without a mount: which calls are made, and where."""

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.mounted = []
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.embedded.common.syscalls.mount',
            lambda source, target, *_, **__: self.mounted.append(target)))
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.embedded.common.syscalls.restrict_mounts',
            lambda path, flags: None))
        self.live = share.Share(self.folder, live=True)

    def test_the_live_share_is_made_when_it_is_used(self):
        self.assertEqual([], os.listdir(self.folder))
        self.assertFalse(self.live.has('c'))
        for number in range(2):
            self.assertEqual(
                '/live/.volumes/1',
                self.live.add_bind(f'c{number}', '/etc/passwd', True))
        self.assertEqual(['live'], os.listdir(self.folder))
        self.assertEqual([], [target for target in self.mounted if
                              not target.startswith(f'{self.folder}/live/')])
        self.assertEqual((True, True, False), tuple(
            map(self.live.has, ('c0', 'c1', 'c2'))))
        self.live.remove_container('c1')
        self.assertEqual((True, False), tuple(
            map(self.live.has, ('c0', 'c1'))))

    def test_the_table_of_mounts_is_read_only_by_a_clean_up(self):
        """It takes long to read on a node with many pods."""
        with mock.patch.object(mounts, 'below', return_value=[]) as below:
            self.live.add_bind('c', '/etc/passwd', True)
            self.live.add_bind('c', '/etc', True)
            self.live.add_rootfs('c', [{
                'type': 'tmpfs', 'source': 't', 'options': []}])
            self.live.remove_container('c')
            self.assertEqual(0, below.call_count)
            self.assertEqual([], os.listdir(
                f'{self.folder}/live/mounts/.volumes'))
            self.assertEqual(['.volumes'], os.listdir(
                f'{self.folder}/live/mounts'))
            self.live.remove()
            self.assertEqual(1, below.call_count)

    def test_a_mount_that_cannot_be_restricted_is_undone(self):
        with (mock.patch.object(mounts, 'detach') as detach,
              mock.patch.object(share.syscalls, 'restrict_mounts',
                                side_effect=OSError(errno.EPERM, 'no'))):
            self.assertRaises(OSError, self.live.add_bind, 'c', '/etc', True)
        detach.assert_called_once_with(f'{self.folder}/live/stage/1')
        self.assertEqual([], os.listdir(f'{self.folder}/live/stage'))

    def test_what_cannot_be_mounted_is_no_volume(self):
        self.assertRaises(OSError, self.live.add_bind, 'c', '/no/such', True)
        self.assertFalse(self.live.has('c'))

    def test_a_share_that_was_not_made_is_made_again(self):
        mount = 'kata_openstack.runtime.embedded.common.syscalls.mount'
        with mock.patch(mount, side_effect=OSError(errno.ENOMEM, 'no')):
            self.assertRaises(OSError, self.live.create)
        self.live.create()
        self.assertIn(self.live.path, self.mounted)
        made = len(self.mounted)
        self.live.create()
        self.assertEqual(made, len(self.mounted))


class TestRam(base.TestCase):
    def test_a_full_tmpfs_is_named(self):
        vm = machine.Machine.__new__(machine.Machine)
        vm.config = mock.Mock(memory_path='/run/x')
        vm.ram_path = '/nowhere/ram'
        vm._problem = None
        reader, writer = os.pipe()
        with mock.patch.object(machine.ram, 'copy', side_effect=OSError(
                errno.ENOSPC, 'No space left on device')):
            vm._copied = threading.Thread(target=vm._copy,
                                          args=(reader, writer))
            vm._copied.start()
            error = self.assertRaises(OSError, vm.wait_for_ram)
        self.assertEqual(errno.ENOSPC, error.errno)
        self.assertIn('pod_memory_mib', str(error))
        self.assertIn('No space left', str(error))
