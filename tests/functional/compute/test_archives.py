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

"""Copies of files from and to containers in real VMs."""

import base64
from concurrent import futures
import hashlib
import io
import lzma
import pathlib
import re
import tarfile
import threading
import time

from tests.functional import images
from tests.functional import kata
from tests.unit import base

from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.hypervisors import embedded

_IMAGE = 'registry.test/kata-openstack/archives:1'
_MIB = 1 << 20


def tree(**members):
    """An archive with a file, a link, a folder and what is given."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        for name, content, mode, owner in (
                ('tree', None, 0o750, 7), ('tree/file', b'words', 0o4755, 8),
                ('tree/link', 'file', 0o777, 9),
                *((name, content, 0o644, 0)
                  for name, content in members.items())):
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid = mode, owner, owner
            info.mtime = 1_000_000_000
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content)
                        if isinstance(content, bytes) else None)
        hard = tarfile.TarInfo('tree/hard')
        hard.type, hard.linkname = tarfile.LNKTYPE, 'tree/file'
        tar.addfile(hard)
    return out.getvalue()


class ArchivesTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.node = self.useFixture(kata.Node())
        archive = self.node.containerd.root / 'archives.tar'
        images.write(archive, _IMAGE, [
            *images.busybox_entries(), ('data', None, 0o750),
            ('data/of-the-image', b'words', 0o640)],
            command=['sh'], volumes=['/data', '/made'])
        self.node.containerd.ctr('images', 'import', str(archive))
        archive.unlink()

    def put(self, pod, path, parts, call=None):
        call, uuid = call or self.node.call, pod['uuid']
        archive = call('open_archive', uuid)
        try:
            offset = 0
            for part in [parts] if isinstance(parts, bytes) else parts:
                call('write_archive', uuid, archive, offset,
                     base64.b64encode(part).decode())
                offset += len(part)
            call('unpack_archive', uuid, archive, path)
        finally:
            call('close_archive', uuid, archive)

    def parts(self, pod, path, limit=90, call=None):
        call, uuid = call or self.node.call, pod['uuid']
        packed = call('pack_archive', uuid, path, limit)
        self.stat, offset = packed['stat'], 0
        try:
            while part := base64.b64decode(call(
                    'read_archive', uuid, packed['archive_id'], offset)):
                offset += len(part)
                yield part
        finally:
            call('close_archive', uuid, packed['archive_id'])
        self.assertEqual(packed['size'], offset)

    def get(self, pod, path):
        """Return the members of an archive, and their contents, by name."""
        data = b''.join(self.parts(pod, path))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return {member.name: tar.extractfile(member).read()
                    if member.isreg() else member for member in tar}

    def content(self, pod, path):
        return self.get(pod, path)[path.rpartition('/')[2]]

    def refused(self, error, words, function, *arguments):
        raised = self.assertRaises(error, function, *arguments)
        self.assertIn(words, str(raised))

    def assert_no_mounts(self):
        self.assertNotIn('kata-openstack-archives', pathlib.Path(
            '/proc/self/mountinfo').read_text())

    def assert_tree(self, pod, folder):
        self.assertEqual(
            'drwxr-x--- 7 7\n-rwsr-xr-x 8 8\nlrwxrwxrwx 9 9\n'
            '-rwsr-xr-x 8 8\n', self.node.execute(
                pod, 'stat', '-c', '%A %u %g', *(
                    f'{folder}/tree{name}'
                    for name in ('', '/file', '/link', '/hard'))))
        self.assertEqual(
            '2 1000000000\n', self.node.execute(
                pod, 'stat', '-c', '%h %Y', f'{folder}/tree/hard'))
        self.assertEqual('words', self.node.execute(
            pod, 'cat', f'{folder}/tree/link'))

    def secret(self):
        """A file of the host that no container may get or change."""
        path = self.node.containerd.root / 'secret'
        path.write_text('of the host')
        return path

    def test_of_a_running_container(self):
        node = self.node
        pod = node.run(container={'image': _IMAGE})
        # the guest now knows that there is none
        self.assertNotEqual(0, node.call('exec_sync', pod['uuid'], [
            'cat', '/root/tree/file'])['exit_code'])
        self.put(pod, '/root', tree())
        self.assert_tree(pod, '/root')
        self.put(pod, '/root', tree(**{'tree/more': b'more'}))
        self.assert_tree(pod, '/root')

        node.execute(pod, 'sh', '-c', 'echo fresh > /root/tree/new')
        found = self.get(pod, '/root/tree')
        self.assertEqual((b'fresh\n', b'more', b'words'), (
            found['tree/new'], found['tree/more'], found['tree/file']))
        self.assertEqual('file', found['tree/link'].linkname)
        self.assertTrue(found['tree/hard'].islnk()
                        or found['tree/file'] == b'words')
        self.assertEqual(('tree', (1 << 31) | 0o750),
                         (self.stat['name'], self.stat['mode']))
        # a volume, and a file system in the guest's memory
        self.put(pod, '/data', tree())
        self.assert_tree(pod, '/data')
        self.assertEqual(b'words', self.content(pod, '/data/of-the-image'))
        self.put(pod, '/dev/shm', tree())
        self.assertEqual(b'words', self.content(pod, '/dev/shm/tree/file'))
        # nothing but the kernel's file systems is left out of all
        everything = self.get(pod, '/')
        self.assertIn('./root/tree/file', everything)
        self.assertFalse([n for n in everything if n.startswith(
            ('./proc/', './sys/'))])

        for path, words in (('/none/x', "'/none/x'"), ('/none', 'ls'),
                            ('/etc/passwd/', 'not a folder'),
                            ('/proc/cpuinfo', 'of the kernel'),
                            ('/dev/null', 'a device')):
            self.refused(exception.InvalidInput, words, self.get, pod, path)
        for path in ('/none', '/etc/passwd'):
            self.refused(exception.InvalidInput, path, self.put, pod, path,
                         tree())
        self.refused(exception.InvalidInput, '..', self.put, pod, '/root',
                     tree(**{'../x': b'x'}))
        self.refused(exception.Conflict, 'mount point', self.put, pod, '/etc',
                     tree(hosts=b'x'))
        self.refused(exception.Conflict, 'read-only', self.put, pod,
                     '/sys', tree())
        node.call('pause_container', pod['uuid'], True)
        self.refused(exception.Conflict, 'unpause', self.get, pod, '/root')
        node.call('pause_container', pod['uuid'], False)

        secret = self.secret()
        node.execute(pod, 'ln', '-s', str(secret), '/root/secret')
        node.execute(pod, 'ln', '-s', str(secret.parent), '/root/folder')
        self.assert_nothing_of_the_host(pod, secret)
        # the copies have left no process
        self.assertEqual(1, len(node.call('top', pod['uuid'])['Processes']))

    def assert_nothing_of_the_host(self, pod, secret):
        self.assertEqual(
            str(secret), self.content(pod, '/root/secret').linkname)
        for path in ('/root/secret/', '/root/folder/secret'):
            self.refused(exception.InvalidInput, 'does not exist', self.get,
                         pod, path)
        self.refused(exception.InvalidInput, 'does not exist', self.put, pod,
                     '/root/folder', tree(secret=b'changed'))
        self.put(pod, '/root', tree(
            out=str(secret.parent), **{'../secret'[3:]: b'changed'}))
        self.assertEqual('of the host', secret.read_text())

    def test_of_a_container_that_does_not_run(self):
        node = self.node
        pod = node.pod(container={'image': _IMAGE})
        node.call('create_pod', pod)
        secret = self.secret()
        self.put(pod, '/root', tree(secret=str(secret),
                                    folder=str(secret.parent)))
        self.put(pod, '/data', tree())
        self.put(pod, '/made', tree())
        self.assertEqual(b'words', self.content(pod, '/root/tree/file'))
        self.assertEqual(b'words', self.content(pod, '/data/of-the-image'))
        self.assert_nothing_of_the_host(pod, secret)
        node.call('start_pod', pod)
        for folder in ('/root', '/data', '/made'):
            self.assert_tree(pod, folder)
        node.execute(pod, 'sh', '-c', 'echo fresh > /data/new; '
                     'echo fresh > /root/new; mkfifo /root/fifo')
        node.call('stop_pod', pod['uuid'], 0)

        self.assertEqual(b'fresh\n', self.content(pod, '/data/new'))
        self.assertEqual(b'fresh\n', self.content(pod, '/root/new'))
        self.assertTrue(self.get(pod, '/root')['root/fifo'].isfifo())
        self.put(pod, '/bin', tree())
        for folder in ('/proc', '/dev/shm'):
            self.refused(exception.KataError, folder, self.put, pod, folder,
                         tree())
        self.refused(exception.Conflict, 'mount point', self.put, pod, '/',
                     tree(data=b'a file in the place of a volume'))
        self.refused(exception.InvalidInput, 'too early', self.put, pod,
                     '/root', tree()[:1000])
        self.refused(exception.InvalidInput, 'at most 1 MiB', list,
                     self.parts(pod, '/bin', 1))
        self.put(pod, '/', tree(**{'data/later': b'later'}))
        self.assert_no_mounts()
        node.call('start_pod', pod)
        self.assert_tree(pod, '')
        self.assertEqual('later', node.execute(pod, 'cat', '/data/later'))
        self.assertEqual('fresh\n', node.execute(pod, 'cat', '/data/new'))

    def test_of_a_disk(self):
        node = self.node
        pod = node.pod(container={'image': _IMAGE, 'disk_gib': 1})
        node.call('create_pod', pod)
        self.put(pod, '/data', tree())
        self.put(pod, '/root', tree())
        node.call('start_pod', pod)
        self.assert_tree(pod, '/data')
        node.call('stop_pod', pod['uuid'], 0)
        self.assertEqual(b'words', self.content(pod, '/data/tree/file'))
        self.assertEqual(b'words', self.content(pod, '/root/tree/file'))

    def test_little_memory_and_many_at_once(self):
        node = self.node
        pod = node.run(container={'image': _IMAGE, 'memory_mib': 24})
        with futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda folder: self.put(
                pod, folder, tree(large=bytes(_MIB))), ('/root', '/tmp')))
            found = list(pool.map(lambda path: list(self.parts(pod, path)),
                                  ('/root', '/tmp')))
        for parts in found:
            self.assertGreater(sum(map(len, parts)), _MIB)
        self.put(pod, '/root', lzma.compress(tree(xz=b'x'), preset=1))
        self.assertEqual(b'x', self.content(pod, '/root/xz'))
        status = node.call('show_pod', pod['uuid'])['containers'][0]
        self.assertEqual('running', status['state'])

    def test_a_container_that_ends_meanwhile(self):
        node = self.node
        pod = node.run(container={'image': _IMAGE})
        node.execute(pod, 'dd', 'if=/dev/zero', 'of=/root/x', 'bs=1M',
                     'count=60')
        with futures.ThreadPoolExecutor(1) as pool:
            copy = pool.submit(node.call, 'pack_archive', pod['uuid'],
                               '/root', 90)
            time.sleep(2)
            node.call('stop_pod', pod['uuid'], 0)
            error = copy.exception()
        self.assertIsInstance(error, exception.KataError)
        self.assertEqual(60 * _MIB, len(self.content(pod, '/root/x')))

    def test_64_mib(self):
        node = self.node
        pod = node.run(container={'image': _IMAGE, 'memory_mib': 128})
        [sandbox] = node.containerd.client.list_pod_sandboxes(
            {labels.POD: pod['uuid']})
        config = settings.Settings.load(str(embedded.config_path(node.conf)))
        shim = self.shim_pid(state.State.load(config, sandbox.id).socket)
        block = hashlib.sha512(b'seed').digest() * (_MIB // 64)
        header = tarfile.TarInfo('large')
        header.size = 64 * _MIB

        def archive():
            yield header.tobuf()
            for number in range(16):
                yield bytes([number]) + (block * 4)[1:]
            yield bytes(1024)
        expected = hashlib.sha256()
        for part in archive():
            expected.update(part)
        # a message broker in this process has its own copies
        parts = self.node.service.copying

        def call(method, *arguments):
            return getattr(parts, method.removesuffix('_archive'))(
                'p', *arguments)
        self.put(pod, '/root', tree(), call)
        peaks = {'shim': [resident(shim)], 'kata-compute': [resident('self')]}
        stop = threading.Event()

        def watch():
            while not stop.wait(0.02):
                peaks['shim'].append(resident(shim))
                peaks['kata-compute'].append(resident('self'))
        watcher = threading.Thread(target=watch)
        watcher.start()
        times = []
        try:
            for _ in range(2):
                begun = time.monotonic()
                self.put(pod, '/root', archive(), call)
                times.append(time.monotonic() - begun)
                begun = time.monotonic()
                got = hashlib.sha256()
                size = 0
                for part in self.parts(pod, '/root/large', call=call):
                    got.update(part[512 * (not size):])
                    size += len(part)
                times.append(time.monotonic() - begun)
                self.assertEqual(64 * _MIB + 1536, size)
                node.call('stop_pod', pod['uuid'], 0)
        finally:
            stop.set()
            watcher.join()
        content = hashlib.sha256()
        for number, part in enumerate(archive()):
            if number:
                content.update(part)
        self.assertEqual(content.hexdigest(), got.hexdigest())
        growth = {name: (max(seen) - seen[0]) // 1024
                  for name, seen in peaks.items()}
        print('64 MiB: put and get, running and stopped, s:', [
            round(t, 1) for t in times], 'growth, MiB:', growth)
        self.assertLess(growth['kata-compute'], 48)
        self.assertLess(growth['shim'], 16)

    @staticmethod
    def shim_pid(socket):
        inode = next(line.split()[6] for line in pathlib.Path(
            '/proc/net/unix').read_text().splitlines()
            if line.endswith(socket) and ' 00010000 ' in line)
        for path in pathlib.Path('/proc').glob('[0-9]*/fd/*'):
            try:
                if str(path.readlink()) == f'socket:[{inode}]':
                    return int(path.parts[2])
            except OSError:
                continue
        raise AssertionError(f'nobody has {socket}')


def resident(pid):
    """The resident memory of a process, in KiB; 0 if it has ended."""
    try:
        text = pathlib.Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return 0
    found = re.search(r'VmRSS:\s+(\d+)', text)
    return int(found[1]) if found else 0

