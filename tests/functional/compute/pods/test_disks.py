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

"""Disks of a limited size, in real VMs."""

import os
import pathlib
import subprocess

from tests.functional import images
from tests.functional import kata
from tests.unit import base

from kata_openstack import exception

_IMAGE = 'registry.test/kata-openstack/disk:1'
_MIB = 1 << 20


class DisksTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.node = self.useFixture(kata.Node())
        self.root = (self.node.containerd.root / 'root'
                     / 'kata-openstack-disks')
        archive = self.node.containerd.root / 'disk.tar'
        images.write(archive, _IMAGE, [
            *images.busybox_entries(), ('data', None, 0o750),
            ('data/of-the-image', b'words', 0o640)],
            command=['sh'], volumes=['/data'])
        self.node.containerd.ctr('images', 'import', str(archive))
        archive.unlink()

    def disk(self, pod):
        return self.root / pod['uuid'] / pod['uuid']

    def loops(self):
        """The loop devices of this node's disks."""
        return [path for path in
                pathlib.Path('/sys/block').glob('loop*/loop/backing_file')
                if str(self.root) in path.read_text()]

    def fill(self, pod, path):
        """Write to a file until the disk is full; return the error."""
        done = self.node.call('exec_sync', pod['uuid'], [
            'dd', 'if=/dev/zero', f'of={path}', 'bs=1M', 'count=400'])
        self.assertNotEqual(0, done['exit_code'])
        return done['output']

    def restart_service(self):
        """As after a kill: a new kata-compute finds what the other left."""
        self.node.service.stop()
        self.node.start()

    def test_full_disk(self):
        pod = self.node.run(container={'image': _IMAGE, 'disk_gib': 1})
        other = self.node.run(container={'image': _IMAGE, 'disk_gib': 1})
        self.assertEqual(2, len(self.loops()))
        self.assertEqual('words', self.node.execute(
            pod, 'cat', '/data/of-the-image'))
        self.node.execute(pod, 'sh', '-c', 'echo kept > /root/file; '
                          'echo kept > /data/file; rm /data/of-the-image')

        # most of the disk; a guest with emulation takes long for it
        filler = self.disk(pod) / 'mount' / 'filler'
        subprocess.run(['fallocate', '-l', str(800 * _MIB), str(filler)],
                       check=True)
        self.assertIn('No space left on device', self.fill(pod, '/big'))
        for path in ('/more', '/data/more'):  # root and volume together
            self.assertIn('No space left on device', self.fill(pod, path))
        self.assertLess((self.disk(pod) / 'image').stat().st_blocks * 512,
                        1025 * _MIB)
        self.node.execute(other, 'dd', 'if=/dev/zero', 'of=/data/big',
                          'bs=1M', 'count=20')

        # a full disk still stops and starts
        self.node.call('stop_pod', pod['uuid'], 0)
        self.node.call('start_pod', pod)
        self.assertEqual('kept\nkept\n', self.node.execute(
            pod, 'cat', '/root/file', '/data/file'))
        self.node.execute(pod, 'rm', '/big', '/more', '/data/more')
        self.node.execute(pod, 'dd', 'if=/dev/zero', 'of=/data/new',
                          'bs=1M', 'count=20')
        self.assertNotIn('of-the-image',
                         self.node.execute(pod, 'ls', '/data'))

        # after a reboot nothing is mounted
        self.node.call('stop_pod', pod['uuid'], 0)
        subprocess.run(['umount', str(self.disk(pod) / 'mount')], check=True)
        self.assertEqual(1, len(self.loops()))
        self.restart_service()
        self.node.call('start_pod', pod)
        self.assertEqual('kept\nkept\n', self.node.execute(
            pod, 'cat', '/root/file', '/data/file'))

        # while another VM runs, which may have seen the mount
        self.node.call('delete_pod', pod['uuid'])
        self.assertEqual(1, len(self.loops()))
        self.node.execute(other, 'true')
        self.node.call('delete_pod', other['uuid'])
        self.assertEqual([], self.loops())
        self.assertEqual([], os.listdir(self.root))
        with open('/proc/mounts') as mounts:
            self.assertNotIn(str(self.root), mounts.read())

    def test_a_mount_that_is_missing(self):
        """As after a reboot, or if an operator unmounted it."""
        pod = self.node.pod(container={'image': _IMAGE, 'disk_gib': 1})
        self.node.call('create_pod', pod)
        mount = str(self.disk(pod) / 'mount')
        subprocess.run(['umount', mount], check=True)
        self.assertEqual([], self.loops())
        self.node.call('start_pod', pod)
        for number, end in enumerate((('kill_container', 'KILL'),
                                      ('stop_pod', 0))):
            self.node.execute(pod, 'sh', '-c', f'echo {number} | '
                              f'tee /root/file > /data/file')
            self.node.call(end[0], pod['uuid'], end[1])
            self.node.call('start_pod', pod)
            self.assertEqual(f'{number}\n' * 2, self.node.execute(
                pod, 'cat', '/root/file', '/data/file'))
        self.node.call('delete_pod', pod['uuid'])
        self.assertEqual(([], []), (self.loops(), os.listdir(self.root)))

    def test_a_size_that_no_node_has(self):
        pod = self.node.pod(container={'image': _IMAGE, 'disk_gib': 2 ** 20})
        error = self.assertRaises(exception.NotEnoughDisk, self.node.call,
                                  'create_pod', pod)
        self.assertIn(f'{2 ** 30 + 1024} MiB', str(error))
        self.assertEqual([], self.node.call('list_pods'))
        self.assertEqual([], self.loops())
