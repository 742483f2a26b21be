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

"""The child in real namespaces of its own."""

import io
import json
import os
import pathlib
import select
import stat
import subprocess
import sys
import tarfile
import time

from kata_openstack.runtime.archives import host_child
from kata_openstack.runtime.archives import work
from tests.unit.runtime.archives import test_unpacking
from tests.unit.runtime.embedded.image import base

PACKAGES = pathlib.Path(host_child.__file__).parents[3]


class TestHostChild(base.FolderTestCase):

    def setUp(self):
        super().setUp()
        if os.geteuid():
            self.skipTest('needs root')
        self.root = self.folder / 'root'
        self.volume = self.folder / 'volume'
        self.point = self.folder / 'point'
        for folder in (self.root, self.volume, self.point,
                       self.root / 'data', self.root / 'etc'):
            folder.mkdir()
        self.secret = self.folder / 'secret'
        self.secret.write_text('of the host')

    def run_child(self, order, data=b'', **changes):
        told = subprocess.run(
            [sys.executable, '-P', '-m', host_child.__name__, json.dumps({
                'order': order._asdict(),
                'root': [{'type': 'bind', 'source': str(self.root),
                          'options': ['rbind', 'rw']}],
                'volumes': [('/data', str(self.volume), False)],
                'mounts': ['/data'], 'hidden': ['/proc'],
                'point': str(self.point), 'readonly': False, 'seconds': 60,
                'parent': os.getpid(), **changes})],
            input=data, capture_output=True, check=True, cwd='/',
            env={'PYTHONPATH': str(PACKAGES), 'PATH': os.environ['PATH']})
        self.assertFalse(os.path.ismount(self.point))
        self.assertEqual([], os.listdir(self.point))
        self.out = told.stdout
        return json.loads(told.stderr) if told.stderr else None

    def put(self, path, *members, **changes):
        return self.run_child(work.Order(True, path, 1 << 24),
                              test_unpacking.archive(*members), **changes)

    def get(self, path, **changes):
        answer = self.run_child(work.Order(False, path, 1 << 24), **changes)
        if 'error' in answer:
            return answer['error']
        with tarfile.open(fileobj=io.BytesIO(self.out)) as tar:
            return {m.name: tar.extractfile(m).read() if m.isreg() else m
                    for m in tar}

    def test_both_ways(self):
        self.assertEqual({'stat': {}}, self.put(
            '/', test_unpacking.member('f', b'x', uid=77, mode=0o6755),
            test_unpacking.member('data/f', b'volume')))
        found = (self.root / 'f').stat()
        self.assertEqual((77, 0o6755), (found.st_uid,
                                        stat.S_IMODE(found.st_mode)))
        self.assertEqual('volume', (self.volume / 'f').read_text())
        self.assertEqual([], os.listdir(self.root / 'data'))
        self.assertEqual(b'volume', self.get('/data')['data/f'])
        self.assertEqual(b'x', self.get('/')['./f'])

    def test_links_stay_in_the_container(self):
        (self.root / 'link').symlink_to(self.secret)
        (self.root / 'folder').symlink_to(self.folder)
        up = '/'.join(['..'] * 20)
        (self.root / 'up').symlink_to(f'{up}{self.folder}')
        self.assertEqual(str(self.secret), self.get('/link')['link'].linkname)
        for path in ('/link/', '/folder/secret', '/up/secret',
                     f'/{up}{self.secret}', '/folder/', '/up/.'):
            self.assertEqual('path', self.get(path)[0])
        for target in (str(self.folder), f'{up}{self.folder}'):
            answer = self.put('/', test_unpacking.symlink('l', target),
                              test_unpacking.member('l/secret', b'changed'))
            self.assertIn('cannot be written', answer['error'][2])
        self.put('/', test_unpacking.member('link', b'changed'))
        for path in ('/folder', '/up'):
            self.put(path, test_unpacking.member('secret', b'changed'))
        answer = self.put('/', test_unpacking.hard_link(
            'hard', str(self.secret)))
        self.assertIn('hard link', answer['error'][2])
        self.assertEqual('of the host', self.secret.read_text())
        self.assertEqual(1, self.secret.stat().st_nlink)
        self.assertEqual(b'changed', (self.root / 'link').read_bytes())

    def test_a_volume_behind_a_link(self):
        """The path of a volume leads nowhere else than in the image."""
        outside = self.folder / 'outside'
        outside.mkdir()
        (self.root / 'var').symlink_to(outside)
        volumes = [('/var/made/deep', str(self.volume), False)]
        (self.root / str(outside)[1:]).mkdir(parents=True)
        self.put('/var/made/deep', test_unpacking.member('f', b'x'),
                 volumes=volumes)
        self.assertEqual('x', (self.volume / 'f').read_text())
        self.assertEqual([], os.listdir(outside))

    def test_read_only(self):
        member = test_unpacking.member('f', b'x')
        for path, changes in (
                ('/etc', {'readonly': True}),
                ('/data', {'volumes': [('/data', str(self.volume), True)]})):
            self.assertIn('read-only', self.put(path, member, **changes)
                          ['error'][2])
        self.put('/data', member, readonly=True)
        self.assertTrue((self.volume / 'f').exists())
        before = (self.root / 'etc').stat().st_atime_ns
        self.get('/')
        self.assertEqual(before, (self.root / 'etc').stat().st_atime_ns)

    def test_mounts_of_a_start(self):
        (self.root / 'proc').mkdir()
        answer = self.put('/proc', test_unpacking.member('f', b'x'))
        self.assertIn('/proc is not a part', answer['error'][2])

    def test_privileges(self):
        script = """
import os
from kata_openstack.runtime.archives import work
work.confine()
print(open('/proc/self/status').read())
try:
    os.chroot('/')
except PermissionError:
    print('no chroot')
"""
        told = subprocess.run(
            [sys.executable, '-c', script], capture_output=True, text=True,
            check=True, env={'PYTHONPATH': str(PACKAGES)}).stdout
        status = dict(line.split(':\t', 1) for line in told.splitlines()
                      if ':\t' in line)
        for name in ('CapEff', 'CapPrm', 'CapBnd'):
            self.assertEqual(0x1f, int(status[name], 16), name)
        self.assertEqual(('0', '1'), (status['CapInh'].strip('0') or '0',
                                      status['NoNewPrivs']))
        self.assertIn('no chroot', told)

    def test_it_dies_with_kata_compute(self):
        script = f'''
import json, os, subprocess, sys
raw = json.loads(sys.argv[1])
raw['parent'] = os.getpid()
child = subprocess.Popen(
    [sys.executable, '-P', '-m', {host_child.__name__!r}, json.dumps(raw)],
    stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
'''
        parent = subprocess.Popen(
            [sys.executable, '-c', script, json.dumps({
                'order': work.Order(True, '/', 1 << 20)._asdict(),
                'root': [{'type': 'bind', 'source': str(self.root),
                          'options': ['rbind', 'rw']}], 'volumes': [],
                'mounts': [], 'hidden': [], 'point': str(self.point),
                'readonly': False, 'seconds': 60})],
            stdout=subprocess.PIPE, text=True,
            env={'PYTHONPATH': str(PACKAGES)})
        self.addCleanup(parent.wait)
        self.addCleanup(parent.stdout.close)
        self.addCleanup(parent.kill)
        child = os.pidfd_open(int(parent.stdout.readline()))
        self.addCleanup(os.close, child)
        # until it has mounted the files and waits for the archive
        deadline = time.monotonic() + 20
        while (not self.is_confined(child)
               and time.monotonic() < deadline):
            time.sleep(0.05)
        self.assertTrue(self.is_confined(child))
        parent.kill()
        self.assertTrue(select.select([child], [], [], 10)[0])

    @staticmethod
    def is_confined(pidfd):
        info = pathlib.Path(f'/proc/self/fdinfo/{pidfd}').read_text()
        pid = info.split('Pid:')[1].split()[0]
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
        return 'NoNewPrivs:\t1' in status

    def test_errors(self):
        self.assertIn('mounting', self.get_failed(root=[
            {'type': 'bind', 'source': '/none', 'options': ['rbind']}]))
        self.assertIn('mounting', self.get_failed(
            volumes=[('/data', '/none', False)]))
        # its parent has died before it could notice
        self.assertIsNone(self.run_child(work.Order(False, '/', 1 << 20),
                                         parent=1))

    def get_failed(self, **changes):
        return self.run_child(work.Order(False, '/', 1 << 20),
                              **changes)['failed']
