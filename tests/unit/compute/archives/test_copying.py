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

import base64
import contextlib
import io
import os
import pathlib
import tarfile
import types
from unittest import mock

from oslo_utils import units

from kata_openstack.compute.archives import copying
from kata_openstack.compute.archives import idle
from kata_openstack.compute.archives import in_guest
from kata_openstack.compute.archives import interrupts
from kata_openstack.compute.archives import spool
from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.containerd.protos import types_pb2
from kata_openstack.runtime.embedded import guest_client
from tests.unit import base
from tests.unit import fake_containerd
from tests.unit.runtime.archives import test_unpacking

POD = 'pod-uuid'
STAT = {'name': 'x', 'size': 5, 'mode': 0o644,
        'mtime': '2017-07-14T02:40:00Z', 'linkTarget': ''}


class Space:
    """Stands in for space.Space."""

    def __init__(self, folder):
        self.folder = folder
        self.available = 1 << 40

    def root(self):
        return self.folder

    def check(self, what, size=0):
        if size > self.available:
            raise exception.NotEnoughDisk(what=what, asked_mib=1,
                                          reserve_mib=1, free_mib=0)


class CopyingTestCase(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        self.client = cri.CriClient(self.fake.conf)
        self.addCleanup(self.client.close)
        self.native = native.NativeClient(self.fake.conf, self.client.channel)
        self.fake.state.sandboxes['s'] = pb.PodSandbox(
            id='s', labels={labels.POD: POD}, state=pb.SANDBOX_READY)
        self.fake.state.create(pb.Container(
            id='c', pod_sandbox_id='s', state=pb.CONTAINER_RUNNING,
            labels={labels.CONTAINER: 'uuid', labels.POD: POD}))
        self.held = []
        self.interrupts = interrupts.Interrupts()
        pods = types.SimpleNamespace(lock=self.lock, disks=mock.Mock(),
                                     interrupts=self.interrupts)
        self.space = Space(self.fake.state.root)
        self.spools = spool.Spools(self.space)
        self.subject = copying.Copying(
            self.fake.conf, self.client, self.native, pods,
            containers.Containers(self.fake.conf, self.client, self.native),
            self.spools)

    @contextlib.contextmanager
    def lock(self, uuid):
        self.held.append(uuid)
        yield

    def state(self, state):
        self.fake.state.containers['c'].state = state

    def pack(self, path='/x', limit=90):
        return self.subject.pack('p', 'uuid', path, limit)

    def unpack(self, data, path='/'):
        archive = self.subject.open('p', 'uuid')
        self.subject.write('p', 'uuid', archive, 0,
                           base64.b64encode(data).decode())
        try:
            self.subject.unpack('p', 'uuid', archive, path)
        finally:
            self.subject.close('p', 'uuid', archive)


class TestSpools(CopyingTestCase):

    def test_parts(self):
        archive = self.subject.open('p', 'uuid')
        for offset, part in ((0, b'abc'), (3, b'de')):
            self.subject.write('p', 'uuid', archive, offset,
                               base64.b64encode(part).decode())
        self.assertEqual(b'bcde', base64.b64decode(
            self.subject.read('p', 'uuid', archive, 1)))
        self.assertEqual('', self.subject.read('p', 'uuid', archive, 5))
        for offset, data in ((0, 'YQ=='), (6, 'YQ=='), (5, 'no base64!')):
            self.assertRaises(exception.InvalidInput, self.subject.write, 'p',
                              'uuid', archive, offset, data)
        # it has no name, so nothing is left after a crash
        self.assertEqual([], os.listdir(self.spools.folder()))

    def test_only_its_owner_has_it(self):
        archive = self.subject.open('p', 'uuid')
        for project, container, ident in (
                ('q', 'uuid', archive), (None, 'uuid', archive),
                ('p', 'other', archive), ('p', 'uuid', archive[:-1] + 'x')):
            for method, arguments in (('read', (0,)), ('write', (0, 'YQ==')),
                                      ('unpack', ('/',))):
                self.assertRaises(
                    exception.Conflict, getattr(self.subject, method),
                    project, container, ident, *arguments)
            self.subject.close(project, container, ident)
        self.assertEqual('', self.subject.read('p', 'uuid', archive, 0))

    def test_limits(self):
        archives = [self.subject.open('p', 'uuid') for _ in range(4)]
        self.assertRaises(exception.NodeBusy, self.subject.open, 'p', 'uuid')
        self.subject.close('p', 'uuid', archives[0])
        self.subject.open('p', 'uuid')
        for number in range(4):
            self.spools.open('p', f'c{number}')
        self.assertRaises(exception.NodeBusy, self.spools.open, 'p', 'other')
        for number in range(24):
            self.spools.open(f'q{number}', f'd{number}')
        self.assertRaises(exception.NodeBusy, self.spools.open, 'r', 'e')

    def test_sizes(self):
        archive = self.subject.open('p', 'uuid')
        data = base64.b64encode(bytes(1000)).decode()
        with mock.patch.object(spool, 'MAX_SIZE', 999):
            self.assertRaises(exception.InvalidInput, self.subject.write, 'p',
                              'uuid', archive, 0, data)
        with mock.patch.object(spool, '_MAX_TOTAL', 999):
            self.assertRaises(exception.NodeBusy, self.subject.write, 'p',
                              'uuid', archive, 0, data)
        self.space.available = 999
        self.assertRaises(exception.NotEnoughDisk, self.subject.write, 'p',
                          'uuid', archive, 0, data)
        self.space.available = -1
        self.subject.close('p', 'uuid', archive)
        self.assertRaises(exception.NotEnoughDisk, self.subject.open, 'p',
                          'uuid')
        self.assertEqual({}, self.spools._spools)

    def test_expiry(self):
        kept = self.subject.open('p', 'uuid')
        lost = self.subject.open('p', 'uuid')
        busy = self.subject.open('p', 'uuid')
        for ident in (lost, busy):
            self.spools._spools[ident].used -= 1000
        file = self.spools._spools[lost].file
        with self.spools.use(busy, 'p', 'uuid'):
            self.assertRaises(exception.Conflict, self.subject.read, 'p',
                              'uuid', busy, 0)
            self.spools.expire()
        self.assertEqual({kept, busy}, set(self.spools._spools))
        self.assertTrue(file.closed)

    def test_no_such_container(self):
        for method in (lambda: self.subject.open('p', 'none'),
                       lambda: self.subject.pack('p', 'none', '/', 1)):
            self.assertRaises(exception.NotFound, method)


class TestInGuest(CopyingTestCase):

    def setUp(self):
        super().setUp()
        self.calls = []
        self.answers = {'OpenArchive': [{'transfer': 7}],
                        'CloseArchive': [{}]}
        patch = mock.patch.object(guest_client, 'call', self.call)
        patch.start()
        self.addCleanup(patch.stop)

    def call(self, conf, sandbox, method, timeout, **arguments):
        self.assertEqual('s', sandbox)
        self.calls.append((method, arguments))
        answers = self.answers[method]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(arguments) if callable(answer) else answer

    @staticmethod
    def part(data, outcome=None):
        return {'data': base64.b64encode(data).decode(),
                'end': outcome is not None, 'outcome': outcome}

    def closed(self):
        return self.calls[-1] == ('CloseArchive', {'transfer': 7})

    def test_out(self):
        self.answers['ReadArchive'] = [
            self.part(b'abc'), self.part(b''), self.part(b'd'),
            self.part(b'', {'stat': STAT})]
        packed = self.pack()
        self.assertEqual((4, STAT), (packed['size'], packed['stat']))
        self.assertEqual(b'abcd', base64.b64decode(self.subject.read(
            'p', 'uuid', packed['archive_id'], 0)))
        self.assertEqual(
            {'put': False, 'path': '/x', 'limit': 90 * units.Mi,
             'keep_free': 0}, self.calls[0][1]['order'])
        self.assertTrue(self.closed())
        self.assertEqual([], self.held)  # other operations go on

    def test_in(self):
        got = bytearray()

        def take(arguments):
            data = base64.b64decode(arguments['data'])
            taken = min(len(data), 100)
            got.extend(data[:taken])
            self.last = arguments['last'] and taken == len(data)
            return {'taken': taken, 'ended': False}
        self.answers['WriteArchive'] = [take]
        self.answers['ReadArchive'] = [self.part(b''),
                                       self.part(b'', {'stat': {}})]
        data = os.urandom(950)
        self.unpack(data)
        self.assertEqual((data, True), (bytes(got), self.last))
        self.assertTrue(self.closed())

    def test_a_guest_that_ends_early_tells_why(self):
        self.answers['WriteArchive'] = [{'taken': 5, 'ended': True}]
        self.answers['ReadArchive'] = [self.part(b'', {
            'error': ['path', '/', 'it is not a folder', 'Do this.']})]
        error = self.assertRaises(exception.InvalidInput, self.unpack,
                                  bytes(100))
        self.assertIn('not a folder', str(error))
        self.assertTrue(self.closed())

    def test_a_guest_that_lies(self):
        self.answers['ReadArchive'] = [self.part(bytes(700_000))]
        self.assertRaises(exception.RuntimeFailed, self.pack, limit=1)
        self.assertTrue(self.closed())
        self.answers['WriteArchive'] = [{'taken': 9, 'ended': True}]
        self.assertRaises(exception.RuntimeFailed, self.unpack, b'123456789')
        self.assertEqual({}, self.spools._spools)

    def test_a_guest_that_stalls(self):
        self.answers['ReadArchive'] = [self.part(b'')]
        self.answers['WriteArchive'] = [{'taken': 0, 'ended': False}]
        with mock.patch.object(in_guest, '_STALL_SECONDS', 0.05):
            for method in (self.pack, lambda: self.unpack(b'x')):
                error = self.assertRaises(exception.RuntimeFailed, method)
                self.assertIn('in time', str(error))
        # it moves, but never ends
        self.answers['ReadArchive'] = [self.part(b'x')]
        with mock.patch.object(copying, '_SECONDS', 0.05):
            self.assertRaises(exception.RuntimeFailed, self.pack)
        self.assertEqual({}, self.spools._spools)

    def test_a_service_that_stops(self):
        self.answers['ReadArchive'] = [self.part(b'x')]
        self.answers['WriteArchive'] = [{'taken': 1, 'ended': False}]
        self.interrupts.stop()
        for method in (self.pack, lambda: self.unpack(bytes(1000))):
            with mock.patch.object(copying, '_SECONDS', 10):
                error = self.assertRaises(exception.Conflict, method)
            self.assertIn('about to stop', str(error))
            self.assertTrue(self.closed())

    def test_a_start_or_delete_does_not_wait_for_it(self):
        self.answers['ReadArchive'] = [self.part(b'x'),
                                       self.part(b'', {'stat': STAT})]
        with self.interrupts.awaited(POD):
            self.assertEqual(STAT, self.pack()['stat'])

    def test_space(self):
        self.answers['ReadArchive'] = [self.part(b'abc')]
        self.space.available = 2
        self.assertRaises(exception.NotEnoughDisk, self.pack)
        self.assertTrue(self.closed())

    def test_refusals(self):
        self.answers['OpenArchive'] = [guest_client.NoGuestService('x')]
        error = self.assertRaises(exception.Unsupported, self.pack)
        self.assertIn('Stop the container first', str(error))
        self.answers['OpenArchive'] = [exception.NotFound(kind='Container',
                                                          id='c')]
        self.assertRaises(exception.Conflict, self.pack)
        self.fake.state.paused.add('c')
        error = self.assertRaises(exception.Conflict, self.pack)
        self.assertIn('unpause', str(error))

    def test_a_shim_that_is_gone_at_the_end(self):
        self.answers['ReadArchive'] = [self.part(b'', {'stat': STAT})]
        for error in (exception.RuntimeFailed(operation='x', why='y'),
                      guest_client.NoGuestService('x')):
            self.answers['CloseArchive'] = [error]
            self.assertEqual(STAT, self.pack()['stat'])


class TestIdle(CopyingTestCase):

    def setUp(self):
        super().setUp()
        if os.geteuid():
            self.skipTest('needs root')
        self.fake.state.sandboxes['s'].state = pb.SANDBOX_NOTREADY
        self.state(pb.CONTAINER_EXITED)
        self.root = self.fake.state.upper('c')
        # what the fake containerd has instead of an overlay
        self.native.mounts = lambda ident: [types_pb2.Mount(
            type='bind', source=str(self.root), options=['rbind', 'rw'])]

    def test_both_ways(self):
        for state in (pb.CONTAINER_EXITED, pb.CONTAINER_CREATED):
            self.state(state)
            self.unpack(test_unpacking.archive(
                test_unpacking.member('x', b'words')))
            packed = self.pack()
            with tarfile.open(fileobj=io.BytesIO(base64.b64decode(
                    self.subject.read('p', 'uuid', packed['archive_id'],
                                      0)))) as tar:
                self.assertEqual(b'words', tar.extractfile('x').read())
            self.assertEqual('x', packed['stat']['name'])
        self.assertEqual([POD] * 4, self.held)

    def test_volumes(self):
        self.fake.state.mounts['c'] = {
            '/data': self.fake.state.folder('c') / 'volumes' / 'v'}
        folder = self.fake.state.mounts['c']['/data']
        folder.mkdir(parents=True)
        self.unpack(test_unpacking.archive(
            test_unpacking.member('data/x', b'words')))
        self.assertEqual('words', (folder / 'x').read_text())
        error = self.assertRaises(
            exception.Conflict, self.unpack, test_unpacking.archive(
                test_unpacking.member('etc/hosts', b'x')))
        self.assertIn('/etc/hosts', str(error))

    def test_errors(self):
        error = self.assertRaises(exception.InvalidInput, self.pack, '/none')
        self.assertIn('does not exist', str(error))
        self.assertRaises(exception.InvalidInput, self.unpack, b'damage' * 99)
        self.assertEqual({}, self.spools._spools)

    def child(self, script):
        program = self.fake.state.root / 'child'
        program.write_text(f'#!/bin/sh\n{script}\n')
        program.chmod(0o700)
        patch = mock.patch.object(idle.sys, 'executable', str(program))
        patch.start()
        self.addCleanup(patch.stop)

    def test_a_child_that_hangs_or_dies(self):
        self.child('exec sleep 1000')
        with mock.patch.object(copying, '_SECONDS', 0):
            error = self.assertRaises(exception.RuntimeFailed, self.pack)
        self.assertIn('too long', str(error))
        self.child('echo why >&2; kill -9 $$')
        error = self.assertRaises(exception.RuntimeFailed, self.pack)
        self.assertIn('why', str(error))
        self.child('kill -9 $$')
        error = self.assertRaises(exception.RuntimeFailed, self.pack)
        self.assertIn('killed', str(error))
        self.assertEqual({}, self.spools._spools)

    def test_a_child_that_others_wait_for(self):
        self.child('exec sleep 1000')
        for method in (self.pack, lambda: self.unpack(b'x')):
            with (mock.patch.object(copying, '_SECONDS', 10),
                  self.interrupts.awaited('other'),
                  self.interrupts.awaited(POD)):
                error = self.assertRaises(exception.Conflict, method)
            self.assertIn('started or deleted', str(error))
        self.interrupts.stop()
        error = self.assertRaises(exception.Conflict, self.pack)
        self.assertIn('about to stop', str(error))
        self.assertEqual({}, self.spools._spools)

    def test_others_wait_no_more(self):
        with self.interrupts.awaited(POD):
            pass
        with self.interrupts.awaited('other'):
            self.unpack(test_unpacking.archive(test_unpacking.member('x')))
        self.assertEqual({}, dict(self.interrupts._awaited))

    def test_a_disk_of_the_node_that_fills(self):
        self.child('exec sleep 1000')
        answers = iter([None, exception.NotEnoughDisk(
            what='x', asked_mib=1, reserve_mib=1, free_mib=0)])

        def check(what, size=0):
            if error := next(answers):
                raise error
        self.space.check = check
        self.assertRaises(exception.NotEnoughDisk, self.pack)
        self.assertEqual({}, self.spools._spools)

    def test_a_block_device_is_never_mounted(self):
        """Its file system is the tenant's, and could attack the kernel."""
        self.native.mounts = lambda ident: [types_pb2.Mount(
            type='ext4', source='/dev/mapper/x', options=['rw'])]
        error = self.assertRaises(exception.Unsupported, self.pack)
        self.assertIn('overlayfs', str(error))

    def test_a_vm_that_may_still_have_the_files(self):
        self.fake.state.sandboxes['s'].state = pb.SANDBOX_READY
        self.unpack(test_unpacking.archive(test_unpacking.member('x')))
        self.assertIn('s', self.fake.state.stopped)
        self.fake.state.sandboxes['s'].state = pb.SANDBOX_READY
        self.fake.state.create(pb.Container(
            id='d', pod_sandbox_id='s', state=pb.CONTAINER_RUNNING,
            labels={labels.CONTAINER: 'other', labels.POD: POD}))
        error = self.assertRaises(exception.Conflict, self.pack)
        self.assertIn('other containers', str(error))

    def test_a_disk(self):
        self.fake.state.containers['c'].annotations[labels.DISK_GIB] = '1'
        self.unpack(test_unpacking.archive(test_unpacking.member('x')))
        disks = self.subject._pods.disks
        disks.mount.assert_called_once_with(POD, 'uuid')
        disks.attach.assert_called_once_with(POD, 'uuid', 'c')

    def test_it_starts_meanwhile(self):
        @contextlib.contextmanager
        def lock(uuid):
            self.state(pb.CONTAINER_RUNNING)
            yield
        self.subject._pods.lock = lock
        with mock.patch.object(in_guest.Copy, 'run',
                               return_value={'stat': STAT}):
            self.assertEqual(STAT, self.pack()['stat'])

    def test_no_mount_is_left(self):
        self.pack('/')
        self.assertNotIn('kata-openstack-archives', pathlib.Path(
            '/proc/self/mountinfo').read_text())
