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

import time

from tests.unit import base

from kata_openstack import exception
from kata_openstack import image_names

DIGEST = f'sha256:{"0" * 64}'


class ParseTest(base.TestCase):

    def test_table(self):
        for given, full in [
                ('busybox', 'docker.io/library/busybox:latest'),
                ('busybox:1', 'docker.io/library/busybox:1'),
                ('a/b', 'docker.io/a/b:latest'),
                ('index.docker.io/a/b', 'docker.io/a/b:latest'),
                ('docker.io/busybox', 'docker.io/library/busybox:latest'),
                ('host:5000/a', 'host:5000/a:latest'),
                ('127.0.0.1:5000/a/b/c:x.Y-1', '127.0.0.1:5000/a/b/c:x.Y-1'),
                ('localhost/a', 'localhost/a:latest'),
                ('localhost:5', 'docker.io/library/localhost:5'),
                ('quay.io/a/b@' + DIGEST, 'quay.io/a/b@' + DIGEST),
                # as containerd does: the digest alone counts
                ('quay.io/a/b:1@' + DIGEST, 'quay.io/a/b@' + DIGEST),
                ('busybox@' + DIGEST, 'docker.io/library/busybox@' + DIGEST),
                ('[2001:db8::1]:5000/a', '[2001:db8::1]:5000/a:latest'),
                ('a__b/c-d.e', 'docker.io/a__b/c-d.e:latest')]:
            self.assertEqual(full, str(image_names.parse(given)))
            self.assertEqual(full, str(image_names.parse(full)))

    def test_repository(self):
        for given in ('a:1', 'a', f'a@{DIGEST}', f'docker.io/a:2@{DIGEST}'):
            self.assertEqual('docker.io/library/a',
                             image_names.parse(given).repository)

    def test_refused(self):
        for given in ('', 'Upper', 'a:b:c', 'a b', '-a', 'a//b', 'a:',
                      'host:port/a', 'a/../b', 'a\n', 'http://a/b', '@', '/',
                      'x' * 600):
            self.assertRaises(exception.InvalidInput, image_names.parse,
                              given)

    def test_malformed_digest(self):
        for digest in ('', 'sha256:1', f'sha256:{"g" * 64}', f'md5:{"0" * 32}',
                       f'sha256:{"A" * 64}', f'{DIGEST}@{DIGEST}',
                       f'sha512:{"0" * 128}', f'{DIGEST}0', f'{DIGEST}\n'):
            error = self.assertRaises(
                exception.InvalidInput, image_names.parse, f'a@{digest}')
            self.assertIn('its digest is not', str(error))

    def test_an_image_id_is_no_name(self):
        for given in (DIGEST, '0' * 64):
            error = self.assertRaises(exception.InvalidInput,
                                      image_names.parse, given)
            self.assertIn('the ID of an image', str(error))
            self.assertTrue(image_names.is_id(given))
        self.assertFalse(image_names.is_id('a'))

    def test_time_grows_with_the_length_only(self):
        """Unlike in Zun's parser, which never ends for such names."""
        begun = time.process_time()
        for end in ('!', '/', '_', '-', ':', '@', '@sha256:'):
            for part in ('a', 'a-', 'a_', 'a.b', 'a/'):
                self.assertRaises(exception.InvalidInput, image_names.parse,
                                  (part * 500)[:499] + end)
        self.assertLess(time.process_time() - begun, 1)


class PrefixTest(base.TestCase):

    def test_table(self):
        for given in ('quay.io', 'host:5000', 'localhost', 'docker.io/a/b'):
            self.assertEqual(given, image_names.parse_prefix(given))
        self.assertEqual('docker.io/library',
                         image_names.parse_prefix('index.docker.io/library'))

    def test_refused(self):
        # a name without a dot or port is a folder of docker.io
        for given in ('', 'library', 'library/a', 'quay.io/', 'quay.io/A',
                      'quay.io/a:1', 'https://quay.io', 'quay.io/a/', '*',
                      '*.example.org'):
            self.assertRaises(ValueError, image_names.parse_prefix, given)
