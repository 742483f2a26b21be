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

from types import SimpleNamespace

from kata_openstack.zun_driver import images as module
from tests.unit.zun_driver import base


class TestAuth(base.DriverTestCase):

    REGISTRY = SimpleNamespace(domain='r.example:5000', username='u',
                               password='secret')

    def test_registry_object(self) -> None:
        self.assertEqual(
            {'server': 'https://r.example:5000', 'username': 'u',
             'password': 'secret', 'shared': False},
            module.auth('r.example:5000/app', self.REGISTRY))

    def test_never_sent_to_another_registry(self) -> None:
        self.assertIsNone(module.auth('evil.example/app', self.REGISTRY))

    def test_docker_hub_goes_by_other_names(self) -> None:
        for domain in ('docker.io', 'index.docker.io'):
            found = module.auth(f'{domain}/me/app', SimpleNamespace(
                domain=domain, username='u', password='secret'))
            self.assertEqual('https://registry-1.docker.io', found['server'])

    def test_anonymous(self) -> None:
        self.assertIsNone(module.auth('r.example/app', None))
        self.assertIsNone(module.auth('r.example/app', SimpleNamespace(
            domain='r.example', username=None, password=None)))

    def test_default_registry(self) -> None:
        self.config('docker', default_registry='r.example',
                    default_registry_username='op',
                    default_registry_password='secret')
        found = module.auth('r.example/app', None)
        self.assertEqual(('op', True), (found['username'], found['shared']))
        self.assertIsNone(module.auth('docker.io/app', None))


class TestParse(base.DriverTestCase):

    DIGEST = f'sha256:{"1" * 64}'

    def test_table(self) -> None:
        registry = SimpleNamespace(domain='r.example:5000')
        for image, name in (
                ('app', 'r.example:5000/app:latest'),
                ('a/app:1', 'r.example:5000/a/app:1'),
                ('other.example/app:1', 'other.example/app:1'),
                (f'app@{self.DIGEST}', f'r.example:5000/app@{self.DIGEST}'),
                (f'app:1@{self.DIGEST}', f'r.example:5000/app@{self.DIGEST}'),
                ('[2001:db8::1]/app', '[2001:db8::1]/app'),
                ('not valid', 'not valid')):
            self.assertEqual(name, module.name(*module.parse_image_name(
                image, 'docker', registry)))
        self.assertEqual('app:latest',
                         module.name(*module.parse_image_name('app')))

    def test_glance(self) -> None:
        """All is the name of the image, in any form."""
        for image in ('app', 'app:1', 'My App 1', f'app@{self.DIGEST}',
                      'a' * 30 + '!'):
            self.assertEqual((image, ''),
                             module.parse_image_name(image, 'glance'))
        self.config(default_image_driver='glance')
        self.assertEqual(('app:1', ''), module.parse_image_name('app:1'))


class TestImages(base.DriverTestCase):

    def test_pull(self) -> None:
        image = module.pull(self.context, base.HOST, 'r.example/app', '1',
                            'ifnotpresent', 'docker', None)
        self.assertEqual(('docker', None), (image['driver'], image['path']))
        self.assertEqual(('pull_image', base.HOST, 'r.example/app:1',
                          'ifnotpresent', None), self.api.calls[-1])

    def test_the_owner_of_the_credentials_asks(self) -> None:
        """An administrator may rebuild a container of another project."""
        registry = SimpleNamespace(domain='r.example', username='u',
                                   password='secret', project_id='owner')
        module.pull(self.context, base.HOST, 'r.example/app', '1', 'always',
                    'docker', registry)
        self.assertEqual('owner', self.api.pulled_for)
        module.pull(self.context, base.HOST, 'r.example/app', '1', 'always',
                    'docker', None)
        self.assertEqual('p1', self.api.pulled_for)

    def test_inspect(self) -> None:
        found = module.inspect(None, base.HOST, 'r.example/app:1')
        self.assertEqual(['r.example/app:1'], found['RepoTags'])
        self.assertEqual((100, 'sha256:1'), (found['Size'], found['Id']))
