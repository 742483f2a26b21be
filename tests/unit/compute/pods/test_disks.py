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

"""Disks of containers, without root's rights: nothing is really mounted."""

import errno
import os
import pathlib
import threading

import fixtures
from tests.unit.compute.pods import test_lifecycle

from kata_openstack.compute.pods import disks
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.embedded.common import syscalls


class FakeMounts(fixtures.Fixture):
    """Mounts are entries of a set: a mounted folder shows its disk's files.

    Attributes: ``mounted``: mount points; ``fail``: name of the program or
    of the system call -> the error that it raises.
    """

    def _setUp(self):
        self.mounted = set()
        self.fail = {}
        real = disks._run

        def run(*command):
            self.enter(command[0])
            if command[0] == 'mount':
                image, point = map(pathlib.Path, command[-2:])
                assert image.is_file()
                self.mount(image.parent, point)
            elif command[0] == 'cp':
                real(*command)
        for name, value in [
                ('kata_openstack.compute.pods.disks._run', run),
                ('os.path.ismount', lambda path: str(path) in self.mounted)]:
            self.useFixture(fixtures.MonkeyPatch(name, value))
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.embedded.common.syscalls.umount',
            lambda point, flags=0: self.unmount(point)))
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.embedded.common.syscalls.allocate',
            lambda fd, offset, length: self.enter('fallocate')))

    def enter(self, name):
        if name in self.fail:
            raise self.fail[name]

    def mount(self, folder, point):
        (folder / 'content').mkdir(exist_ok=True)
        point.rmdir()
        (folder / 'content').rename(point)
        self.mounted.add(str(point))

    def unmount(self, point):
        self.mounted.remove(str(point))
        os.rename(point, pathlib.Path(point).parent / 'content')
        os.mkdir(point)

    def reboot(self):
        for point in list(self.mounted):
            self.unmount(point)


class Test(test_lifecycle.Case):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(FakeMounts())
        self.root = self.state.root / 'kata-openstack-disks'

    def sized_pod(self, count=1, **fields):
        pod = self.pod(count, **fields)
        for container in pod.containers:
            container.disk_gib = 1
        return pod

    def current(self):
        return list(self.state.containers)[-1]

    def files(self):
        """The folders to which the newest container writes."""
        return [self.state.upper(self.current()),
                *self.state.mounts[self.current()].values()]

    def write(self):
        for number, folder in enumerate(self.files()):
            (folder / 'mine').write_text(str(number))

    def check(self):
        self.assertEqual(['0', '1', '2'], [
            (folder / 'mine').read_text() for folder in self.files()])
        work = self.state.upper(self.current()).parent / 'work'
        for folder in (*self.files(), work):
            self.assertIn(str(self.root), str(folder.resolve()))

    def test_all_files_are_on_the_disk(self):
        pod = self.sized_pod()
        self.pods.create(pod)
        upper = self.state.upper(self.current())
        self.assertTrue(upper.is_symlink())
        self.assertEqual(0o755, upper.stat().st_mode & 0o777)
        self.assertEqual("the image's",
                         (self.files()[1] / 'file').read_text())
        self.pods.start(pod)
        self.write()
        self.check()
        for reboot in (False, True):
            self.pods.stop(pod.uuid, 0)
            if reboot:
                self.fake.reboot()
            self.pods.start(pod)
            self.check()
            self.assertEqual(1, len(self.state.containers))
        self.pods.delete(pod.uuid, False)
        self.assertEqual([], list(self.root.iterdir()))
        self.assertEqual(set(), self.fake.mounted)

    def test_death_at_each_step_of_a_restart(self):
        """A new container exists, but is not linked to the disk yet."""
        attach = disks.Disks._link
        for left in range(2):
            pod = self.sized_pod()
            self.pods.create(pod)
            self.pods.start(pod)
            self.write()
            self.pods.stop(pod.uuid, 0)
            self.fake.reboot()
            steps = iter(range(9))

            def die(*args, left=left, steps=steps):
                if next(steps) < left:
                    return attach(*args)
                raise SystemExit
            with (fixtures.MonkeyPatch(
                    'kata_openstack.compute.pods.disks.Disks._link', die),
                  fixtures.MonkeyPatch('kata_openstack.compute.pods.'
                                       'replacement.Replacement.undo',
                                       lambda self: False)):
                self.assertRaises(SystemExit, self.pods.start, pod)
            self.fake.reboot()
            self.pods.start(pod)
            self.check()
            self.pods.delete(pod.uuid, False)

    def test_failed_start_keeps_the_files(self):
        pod = self.sized_pod()
        self.pods.create(pod)
        self.pods.start(pod)
        self.write()
        self.pods.stop(pod.uuid, 0)
        self.state.fail['StartContainer'] = test_lifecycle._FAILED
        self.assertRaises(exception.RuntimeFailed, self.pods.start, pod)
        self.check()
        del self.state.fail['StartContainer']
        self.pods.start(pod)
        self.check()

    def test_what_it_was_created_with_counts(self):
        for disk_gib in (None, 1):
            pod = self.pod()
            pod.containers[0].disk_gib = disk_gib
            self.pods.create(pod)
            self.pods.start(pod)
            self.write()
            self.pods.stop(pod.uuid, 0)
            pod.containers[0].disk_gib = 7
            self.pods.start(pod)
            self.assertEqual(disk_gib or 0, labels.number(
                self.state.containers[self.current()].annotations,
                labels.DISK_GIB))
            self.assertEqual('0', (self.files()[0] / 'mine').read_text())
            self.pods.delete(pod.uuid, False)

    def test_full_node(self):
        self.pods.disks.obstacle()
        self.fake.fail['fallocate'] = OSError(errno.ENOSPC, 'injected')
        error = self.assertRaises(exception.NotEnoughDisk, self.pods.create,
                                  self.sized_pod())
        self.assertIn('1024 MiB', str(error))
        self.assertEqual({}, self.state.sandboxes)
        self.assertEqual([], list(self.root.iterdir()))

    def test_another_one_takes_the_space_meanwhile(self):
        self.pods.disks.obstacle()
        self.pods.disks._space.reserve = 0
        figures = iter([2 << 30])
        self.pods.disks._space.free = lambda: next(figures, 1000 << 20)
        error = self.assertRaises(exception.NotEnoughDisk, self.pods.create,
                                  self.sized_pod())
        self.assertIn('1000 MiB', str(error))
        self.assert_nothing_left()
        self.assertEqual([], list(self.root.iterdir()))

    def test_all_containers_of_a_pod_must_fit(self):
        self.pods.disks._space.reserve = 0
        self.pods.disks._space.free = lambda: 2500 << 20
        self.pods.create(self.sized_pod(2))
        error = self.assertRaises(exception.NotEnoughDisk, self.pods.create,
                                  self.sized_pod(3))
        self.assertIn('3072 MiB', str(error))
        self.assertEqual(1, len(self.called('RunPodSandbox')))

    def test_a_full_node_can_limit_disks_nevertheless(self):
        self.pods.disks._space.free = lambda: 8 << 20
        self.assertEqual('', self.pods.disks.obstacle())

    def test_disks_are_made_while_the_vm_boots(self):
        self.pods.disks.obstacle()
        booting = threading.Event()
        run = self.pods._maker.run_sandbox

        def boot(*args, **kwargs):
            booting.set()
            return run(*args, **kwargs)
        self.pods._maker.run_sandbox = boot
        enter, waited = self.fake.enter, []

        def wait(name):
            waited.append(booting.wait(30))
            enter(name)
        self.fake.enter = wait
        self.pods.create(self.sized_pod())
        self.assertEqual({True}, set(waited))

    def test_disk_that_cannot_be_made_leaves_no_vm(self):
        self.pods.disks.obstacle()
        for program in ('mkfs.ext4', 'mount'):
            self.fake.fail = {program: OSError(errno.EIO, 'injected')}
            error = self.assertRaises(exception.RuntimeFailed,
                                      self.pods.create, self.sized_pod())
            self.assertIn('injected', str(error))
            self.assert_nothing_left()
            self.assertEqual([], list(self.root.iterdir()))

    def test_space_that_stays_free(self):
        stat = os.statvfs(self.state.root)
        free = stat.f_bavail * stat.f_frsize // 2 ** 20
        for disk_gib, reserve in ((None, free + 500), (1, free - 500)):
            self.pods.disks._space.reserve = reserve * 2 ** 20
            pod = self.pod()
            pod.containers[0].disk_gib = disk_gib
            error = self.assertRaises(exception.NotEnoughDisk,
                                      self.pods.create, pod)
            asked = reserve + 1024 * (disk_gib or 0)
            self.assertIn(f'{asked} MiB', str(error))
            self.assertRegex(str(error), f'has {str(free)[:2]}[0-9]* MiB')
            self.assertEqual({}, self.state.sandboxes)

    def test_report(self):
        self.pods.disks._space.total = lambda: 100 << 30
        self.pods.disks._space.free = lambda: 50 << 30
        self.pods.create(self.sized_pod(2))
        self.assertEqual(
            {'disk_quota_supported': True, 'disk_total': 100,
             'disk_held_back': 51}, self.pods.disks.info())
        for image in self.root.glob('*/*/image'):
            with image.open('wb') as file:
                os.posix_fallocate(file.fileno(), 0, 1 << 20)
        self.assertEqual(2 << 20, self.pods.disks._allocated())

    def test_report_without_loop_devices(self):
        self.fake.fail['mount'] = OSError(errno.EIO, 'no loop device')
        self.assertFalse(self.pods.disks.info()['disk_quota_supported'])

    def test_node_without_loop_devices(self):
        self.fake.fail['mount'] = OSError(errno.EIO, 'no loop device')
        error = self.assertRaises(exception.Unsupported, self.pods.create,
                                  self.sized_pod())
        self.assertIn('no loop device', str(error))
        self.assertIn('--disk', str(error))
        self.assertEqual([], list(self.root.iterdir()))
        self.pods.create(self.pod())
        del self.fake.fail['mount']
        self.pods.create(self.sized_pod())

    def test_image_data_that_does_not_fit(self):
        self.fake.fail['cp'] = OSError(errno.ENOSPC, 'injected')
        self.assertRaises(exception.InvalidInput, self.pods.create,
                          self.sized_pod())
        self.assertEqual([], list(self.root.iterdir()))
        self.assertEqual(set(), self.fake.mounted)

    def test_leftovers_are_swept(self):
        kept, lost = self.sized_pod(), self.sized_pod()
        self.pods.create(kept)
        self.pods.create(lost)
        for sandbox in list(self.state.sandboxes.values()):
            if sandbox.labels[labels.POD] == lost.uuid:
                self.pods._client.remove_pod_sandbox(sandbox.id)
        self.pods.sweep()
        self.assertEqual([kept.uuid],
                         [path.name for path in self.root.iterdir()])
        self.assertEqual(1, len(self.fake.mounted))


class AllocateTest(test_lifecycle.Case):

    def test_space_is_taken(self):
        path = self.state.root / 'file'
        with path.open('wb') as file:
            syscalls.allocate(file.fileno(), 0, 1 << 20)
        self.assertEqual(1 << 20, path.stat().st_size)
        self.assertLessEqual(1 << 20, path.stat().st_blocks * 512)
