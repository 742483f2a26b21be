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

import fixtures
from tests.functional import containerd
from tests.functional import images as test_images
from tests.functional import registry
from tests.unit import base

from kata_openstack.compute.images import store
from kata_openstack import exception

RIGHT = {'server': '', 'username': registry.USER,
         'password': registry.PASSWORD}


class ImagesTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.images = store.Images(
            self.useFixture(containerd.Containerd()).client)
        self.archive = pathlib.Path(
            self.useFixture(fixtures.TempDir()).join('busybox.tar'))
        test_images.write(
            self.archive, 'x:1', test_images.busybox_entries(),
            command=['httpd'], entrypoint=['/bin/sh', '-c'],
            labels={'kata-openstack.io/needs': 'vm-template',
                    'io.katacontainers.config.hypervisor.path': '/x'})

    def test_pull_inspect_list_delete(self):
        reference = self.useFixture(registry.Registry()).push(
            self.archive, 'a/b:1')
        self.assertRaises(exception.ImageNotFound, self.images.pull,
                          reference, 'never', None)
        image = self.images.pull(reference, 'ifnotpresent', None)
        self.assertEqual(['/bin/sh', '-c'], image['entrypoint'])
        self.assertEqual(['httpd'], image['command'])
        self.assertEqual({'kata-openstack.io/needs': 'vm-template'},
                         image['labels'])
        self.assertEqual(image, self.images.pull(reference, 'never', None))
        self.assertEqual(image['id'], self.images.inspect(reference)['id'])
        self.images.delete(image['id'])
        self.images.delete(image['id'])
        self.assertRaises(exception.ImageNotFound, self.images.inspect,
                          reference)

    def test_always_follows_a_moved_tag(self):
        server = self.useFixture(registry.Registry())
        reference = server.push(self.archive, 'b:1')
        first = self.images.pull(reference, 'ifnotpresent', None)
        test_images.write(self.archive, 'x:1', test_images.busybox_entries(),
                          command=['other'])
        server.push(self.archive, 'b:1')
        self.assertEqual(first, self.images.pull(
            reference, 'ifnotpresent', None))
        self.assertEqual(['other'], self.images.pull(
            reference, 'always', None)['command'])

    def test_credentials(self):
        reference = self.useFixture(registry.Registry(password=True)).push(
            self.archive, 'b:1')
        for auth in (None, {**RIGHT, 'password': 'wrong-password'}):
            error = self.assertRaises(
                exception.RegistryDenied, self.images.pull, reference,
                'always', auth)
            self.assertIn(reference, str(error))
            self.assertNotIn('wrong-password', str(error))
        self.images.pull(reference, 'always', RIGHT)

    def test_unknown_image_and_registry(self):
        server = self.useFixture(registry.Registry())
        self.assertRaises(exception.ImageNotFound, self.images.pull,
                          f'{server.address}/none:1', 'always', None)
        reference = server.push(self.archive, 'b:1')
        self.assertRaises(exception.ImageNotFound, self.images.pull,
                          reference.replace(':1', ':2'), 'always', None)
        closed = f'127.0.0.1:{registry.free_port()}'
        for host in (closed, 'no-such-host.invalid'):
            self.assertRaises(exception.RegistryUnreachable,
                              self.images.pull, f'{host}/b:1', 'always', None)

    def test_concurrent_pulls(self):
        reference = self.useFixture(registry.Registry()).push(
            self.archive, 'b:1')
        with futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(
                lambda _: self.images.pull(reference, 'always', None),
                range(8)))
        self.assertEqual(1, len({image['id'] for image in found}))
