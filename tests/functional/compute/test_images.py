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

"""Pulls from a real registry into a real containerd."""

from concurrent import futures
import pathlib
import socketserver
import stat
import subprocess
import threading
import time
from unittest import mock

import fixtures
from oslo_utils import units
from tests.functional import containerd
from tests.functional import images as test_images
from tests.functional import kata
from tests.functional import registry
from tests.unit import base

from kata_openstack.compute.images import store
from kata_openstack import exception
from kata_openstack.runtime.containerd import native

RIGHT = {'server': '', 'username': registry.USER,
         'password': registry.PASSWORD}
WRONG = {**RIGHT, 'password': 'wrong-password'}


class Case(base.TestCase):

    def setUp(self):
        super().setUp()
        self.containerd = self.useFixture(containerd.Containerd())
        self.images = self.new()
        self.archive = pathlib.Path(
            self.useFixture(fixtures.TempDir()).join('busybox.tar'))
        self.write(command=['httpd'])

    def new(self):
        """As after a restart of kata-compute."""
        running = self.containerd
        return store.Images(running.conf, running.client, native.NativeClient(
            running.conf, running.client.channel))

    def write(self, **image):
        test_images.write(self.archive, 'x:1', test_images.busybox_entries(),
                          **image)


class CleanupTest(Case):

    def test_only_what_was_pulled_goes(self):
        pushed = self.useFixture(registry.Registry())
        reference = pushed.push(self.archive, 'a/pulled:1')
        image = self.images.pull(reference, 'always', None, 'p')
        self.write(command=['other'])
        other = pushed.push(self.archive, 'a/other:1')
        imported = self.containerd.client.pull_image(other)
        self.images.pull(other, 'always', None, 'p')
        self.images.cleanup.run()
        self.images.resolve(reference, 'p')
        with mock.patch('time.time', lambda real=time.time: (
                real() + 40 * 24 * 3600)):
            self.images.cleanup.run()
        left = {i.id for i in self.containerd.client.list_images()}
        self.assertNotIn(image['id'], left)
        self.assertIn(imported, left)


class ImagesTest(Case):

    def test_pull_inspect_delete(self):
        self.write(command=['httpd'], entrypoint=['/bin/sh', '-c'], labels={
            'kata-openstack.io/needs': 'vm-template',
            'io.katacontainers.config.hypervisor.path': '/x'})
        reference = self.useFixture(registry.Registry()).push(
            self.archive, 'a/b:1')
        self.assertRaises(exception.ImageNotFound, self.images.pull,
                          reference, 'never', None, 'p')
        image = self.images.pull(reference, 'ifnotpresent', None, 'p')
        self.assertEqual(reference, image['reference'])
        self.assertEqual(['/bin/sh', '-c'], image['entrypoint'])
        self.assertEqual(['httpd'], image['command'])
        self.assertEqual({'kata-openstack.io/needs': 'vm-template'},
                         image['labels'])
        self.assertEqual(image,
                         self.images.pull(reference, 'never', None, 'p'))
        self.assertEqual(image, self.images.inspect(reference))
        self.images.delete(image['id'])
        self.images.delete(image['id'])
        self.assertRaises(exception.ImageNotFound, self.images.inspect,
                          reference)

    def test_a_layer_that_becomes_far_larger(self):
        """As a tenant would fill the disk of the node."""
        test_images.write(
            self.archive, 'x:1', test_images.busybox_entries(), ['sh'],
            more=[[('zeros', bytes(600 * units.Mi), 0o644)]])
        with registry.Registry() as mine:
            name = mine.push(self.archive, 'bomb:1')
            self.archive.unlink()
            most = self.used() + 100 * units.Mi
            self.images.space.free = lambda: (
                self.images.space.reserve + most - self.used())
            error = self.assertRaises(
                exception.NotEnoughDisk, self.images.pull, name, 'always',
                None, 'p')
        self.assertIn('Pulling an image', str(error))
        self.assertEqual([], [image for image in
                              self.containerd.client.list_images()
                              if 'bomb' in str(image)])
        deadline = time.monotonic() + 30
        while self.used() > most - 90 * units.Mi:
            self.assertLess(time.monotonic(), deadline, 'it stays')
            time.sleep(0.2)

    def used(self):
        """Bytes in containerd's folder."""
        return int(subprocess.run(
            ['du', '--summarize', '--one-file-system', '--block-size=1',
             self.containerd.client.root()], capture_output=True,
            text=True).stdout.split()[0])

    def test_an_image_that_would_block_containerd(self):
        server = self.useFixture(registry.Registry())
        for name in ('etc/passwd', 'etc/group'):
            test_images.write(
                self.archive, 'x:1', test_images.busybox_entries(), ['sh'],
                more=[[(name, None, stat.S_IFIFO | 0o644)]])
            reference = server.push(self.archive, f'{name}:1')
            self.images.pull(reference, 'always', None, 'p')
            error = self.assertRaises(exception.InvalidInput,
                                      self.images.resolve, reference, 'p')
            self.assertIn(f'/{name}', str(error))
        self.write(command=['httpd'])
        reference = server.push(self.archive, 'good:1')
        self.images.pull(reference, 'always', None, 'p')
        self.images.resolve(reference, 'p')
        listed = self.containerd.ctr('snapshots', 'ls')
        self.assertNotIn('View', listed)

    def test_always_follows_a_moved_tag(self):
        server = self.useFixture(registry.Registry())
        reference = server.push(self.archive, 'b:1')
        first = self.images.pull(reference, 'ifnotpresent', None, 'p')
        self.write(command=['other'])
        server.push(self.archive, 'b:1')
        self.assertEqual(first, self.images.pull(
            reference, 'ifnotpresent', None, 'p'))
        self.assertEqual(['other'], self.images.pull(
            reference, 'always', None, 'p')['command'])

    def test_unknown_image_and_registry(self):
        server = self.useFixture(registry.Registry())
        reference = server.push(self.archive, 'b:1')
        digest = f'sha256:{"0" * 64}'
        for unknown in (f'{server.address}/none:1', f'{reference}2',
                        f'{server.address}/b@{digest}'):
            error = self.assertRaises(
                exception.ImageNotFound, self.images.pull, unknown, 'always',
                None, 'p')
            self.assertIn(unknown, str(error))

    def test_a_tenant_cannot_scan_ports(self):
        """A closed port, another service and no host look the same."""
        class Greeter(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(b'SSH-2.0-OpenSSH_9.2p1\r\n')
        server = socketserver.TCPServer(('127.0.0.1', 0), Greeter)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        answers = set()
        for host in (f'127.0.0.1:{registry.free_port()}',
                     f'127.0.0.1:{server.server_address[1]}',
                     'no-such-host.invalid'):
            error = self.assertRaises(
                exception.RegistryUnreachable, self.images.pull,
                f'{host}/b:1', 'always', None, 'p')
            answers.add(str(error).replace(host, 'HOST'))
        self.assertEqual(1, len(answers), answers)

    def test_concurrent_pulls(self):
        reference = self.useFixture(registry.Registry()).push(
            self.archive, 'b:1')
        with futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(
                lambda _: self.images.pull(reference, 'always', None, 'p'),
                range(8)))
        self.assertEqual(1, len({image['id'] for image in found}))

    def test_the_digest_decides(self):
        server = self.useFixture(registry.Registry())
        reference = server.push(self.archive, 'pin:1')
        first = server.digest
        self.write(command=['second'])
        server.push(self.archive, 'pin:1')
        for name in (f'{server.address}/pin@{first}',
                     f'{server.address}/pin:1@{first}'):
            for policy in ('ifnotpresent', 'always', 'never'):
                found = self.images.pull(name, policy, None, 'p')
                self.assertEqual(['httpd'], found['command'])
                self.assertEqual(found['id'],
                                 self.images.resolve(name, 'p')[0])
        self.assertEqual(['second'], self.images.pull(
            reference, 'always', None, 'p')['command'])
        self.assertEqual(['httpd'], self.images.pull(
            f'{server.address}/pin@{first}', 'never', None, 'p')['command'])


class RightsTest(Case):
    """Two projects, and an image that only one of them may pull."""

    def setUp(self):
        super().setUp()
        self.server = self.useFixture(registry.Registry(password=True))
        self.private = self.server.push(self.archive, 'private:1')
        self.pinned = f'{self.server.address}/private@{self.server.digest}'

    def assert_no_access(self, project):
        for name in (self.private, self.pinned):
            for auth in (None, WRONG):
                for policy, error in (
                        ('never', exception.ImageNotFound),
                        ('ifnotpresent', exception.RegistryDenied),
                        ('always', exception.RegistryDenied)):
                    raised = self.assertRaises(
                        error, self.images.pull, name, policy, auth, project)
                    self.assertIn(name, str(raised))
                    self.assertNotIn('wrong-password', str(raised))
            self.assertRaises(exception.ImageNotFound, self.images.resolve,
                              name, project)

    def assert_access(self, project):
        for name in (self.private, self.pinned):
            for policy in ('never', 'ifnotpresent'):
                self.images.pull(name, policy, None, project)
            self.images.resolve(name, project)

    def test_each_policy(self):
        self.assert_no_access('a')
        self.images.pull(self.private, 'ifnotpresent', RIGHT, 'a')
        self.assert_access('a')
        self.assert_no_access('b')
        self.images = self.new()
        self.assert_access('a')
        self.assert_no_access('b')
        self.images.pull(self.private, 'ifnotpresent', RIGHT, 'b')
        self.assert_access('b')
        self.assert_access('a')
        self.assert_no_access('c')

    def test_each_kind_of_pull_keeps_the_rights(self):
        """A pull replaces the labels of the name that it pulls."""
        for name in (self.private, self.pinned, self.private):
            self.images.pull(name, 'always', RIGHT, 'a')
            self.assert_access('a')
            self.assert_no_access('b')
        self.containerd.stop()
        self.containerd.start()
        self.assert_no_access('b')
        self.assert_access('a')

    def test_the_same_image_in_a_public_registry(self):
        server = self.useFixture(registry.Registry())
        public = server.push(self.archive, 'public:1')
        self.images.pull(self.private, 'always', RIGHT, 'a')
        found = self.images.pull(public, 'ifnotpresent', None, 'b')
        self.assertEqual(self.images.resolve(self.private, 'a')[0],
                         found['id'])
        self.images.pull(public, 'never', None, 'c')
        self.assert_no_access('b')
        self.assert_access('a')

    def test_a_registry_that_only_knows_the_digest(self):
        """containerd asks it for nothing else, as it has the image."""
        self.images.pull(self.private, 'always', RIGHT, 'a')
        server = self.useFixture(registry.Deceiver(
            self.server.digest, self.server.manifest_size()))
        for name in (f'{server.address}/mine:1',
                     f'{server.address}/mine@{self.server.digest}'):
            for auth in (None, RIGHT):
                for policy in ('always', 'ifnotpresent'):
                    self.assertRaises(exception.ImagePullFailed,
                                      self.images.pull, name, policy, auth,
                                      'b')
                    self.assertRaises(exception.ImageNotFound,
                                      self.images.resolve, name, 'b')
        self.assertIn('HEAD', {method for method, _ in server.requests})
        self.assert_no_access('b')
        self.assert_access('a')

    def test_private_in_two_registries(self):
        other = self.useFixture(registry.Registry(password=True))
        self.images.pull(self.private, 'always', RIGHT, 'a')
        name = other.push(self.archive, 'also:1')
        self.assertRaises(exception.RegistryDenied, self.images.pull, name,
                          'ifnotpresent', WRONG, 'b')
        self.images.pull(name, 'ifnotpresent', RIGHT, 'b')
        self.images.resolve(name, 'b')
        self.assert_no_access('b')
        self.assert_access('a')

    def test_removed_and_imported_by_the_operator(self):
        image = self.images.pull(self.private, 'always', RIGHT, 'a')
        self.images.delete(image['id'])
        self.assert_no_access('b')
        test_images.write(self.archive, self.private,
                          test_images.busybox_entries(), command=['httpd'])
        self.containerd.import_image(self.private, self.archive)
        self.assertEqual(image['id'],
                         self.images.resolve(self.private, 'b')[0])
        # nor does a pull with credentials take it from others
        self.images.pull(self.private, 'always', RIGHT, 'a')
        self.images.resolve(self.private, 'b')


class PodTest(base.TestCase):

    def test_run_by_digest(self):
        node = self.useFixture(kata.Node())
        server = self.useFixture(registry.Registry())
        archive = pathlib.Path(self.useFixture(fixtures.TempDir()).join('a'))
        digests = []
        for number in ('first', 'second'):
            test_images.write(archive, 'x:1', [
                *test_images.busybox_entries(),
                ('etc/version', number.encode(), 0o644)], command=['sh'])
            reference = server.push(archive, 'pin:1')
            digests.append(server.digest)
        name = f'{server.address}/pin@{digests[0]}'
        node.call('pull_image', reference, 'always')
        node.call('pull_image', name, 'always')
        pod = node.run(container={'image': name})
        self.assertEqual('first', node.execute(pod, 'cat', '/etc/version'))
