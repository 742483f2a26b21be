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

from tests.unit import base

from kata_openstack.compute.images import registries
from kata_openstack import exception
from kata_openstack import image_names


class AllowedRegistriesTest(base.TestCase):

    def allows(self, items, reference):
        try:
            registries.AllowedRegistries(items).check(
                image_names.parse(reference))
        except exception.InvalidInput as e:
            for item in items:
                self.assertIn(item, str(e))
            return False
        return True

    def test_empty_allows_all(self):
        self.assertTrue(self.allows([], '10.0.0.5:3306/a'))

    def test_registry(self):
        for reference in ('quay.io/a', 'quay.io/a/b:1',
                          f'quay.io/a@sha256:{"0" * 64}'):
            self.assertTrue(self.allows(['docker.io', 'quay.io'], reference))
        for reference in ('quay.io:443/a', 'quay.io.evil.example/a',
                          'a.quay.io/a', 'quay.io:80/a',
                          '169.254.169.254/quay.io/a', 'QUAY.IO/a'):
            self.assertFalse(self.allows(['quay.io'], reference))

    def test_port(self):
        self.assertTrue(self.allows(['r.example:5000'], 'r.example:5000/a'))
        self.assertFalse(self.allows(['r.example:5000'], 'r.example/a'))
        self.assertFalse(self.allows(['r.example:5000'], 'r.example:50001/a'))

    def test_path(self):
        items = ['docker.io/library', 'r.example/team/app']
        for reference in ('busybox', 'docker.io/library/a/b',
                          'r.example/team/app:2', 'r.example/team/app/sub'):
            self.assertTrue(self.allows(items, reference))
        for reference in ('someone/busybox', 'docker.io/library2/a',
                          'r.example/team', 'r.example/team/app2'):
            self.assertFalse(self.allows(items, reference))

    def test_bad_option(self):
        error = self.assertRaises(
            exception.InvalidInput, registries.AllowedRegistries,
            ['docker.io', 'https://quay.io'])
        self.assertIn('allowed_registries', str(error))
        self.assertIn("'https://quay.io'", str(error))
