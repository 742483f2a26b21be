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

"""Images of a registry that requires a user name and a password."""

import base64
import json
import pathlib
import socket

import bcrypt
import fixtures

from tests.e2e import base
from tools.quickstart import identity
from tools.quickstart import images
from tools.quickstart import process
from tools.quickstart import readiness
from tools.quickstart import services

USER, PASSWORD = 'reader', 'not-a-secret-of-anyone'

CONFIGURATION = '''\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
auth: {{htpasswd: {{realm: e2e, path: {folder}/htpasswd}}}}
http: {{addr: "{address}"}}
'''


class Registry(fixtures.Fixture):
    """A second registry, which requires the password, with one image."""

    def _setUp(self):
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        self.address = f'127.0.0.1:{port}'
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (folder / 'htpasswd').write_text(f'{USER}:{hashed}\n')
        (folder / 'config.yml').write_text(CONFIGURATION.format(
            folder=folder, address=self.address))
        stack = base.stack()
        running = process.start(stack, 'e2e-registry', [
            'docker-registry', 'serve', str(folder / 'config.yml')], {})
        self.addCleanup(process.pid_file(stack, 'e2e-registry').unlink)
        self.addCleanup(process.end, [running])
        base.wait_until('the registry answers', services.http_answers(port))

        self.image = f'{self.address}/private/busybox:1'
        images.write_layout(folder / 'image', {'Cmd': ['sh'], 'Env': [
            'PATH=/bin']}, images.layer())
        secret = base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()
        (folder / 'auth.json').write_text(json.dumps(
            {'auths': {self.address: {'auth': secret}}}))
        images.push(stack, folder / 'image', self.image,
                    folder / 'auth.json')


class Project(fixtures.Fixture):
    """A second project with a network, and a client of Zun for it."""

    def __init__(self, name):
        super().__init__()
        self._name = name

    def _setUp(self):
        admin = base.cloud().identity
        project = admin.create_project(name=self._name, domain_id='default')
        self.addCleanup(admin.delete_project, project.id)
        for role in ('admin', 'member'):
            admin.assign_project_role_to_user(
                project, admin.find_user('admin'), admin.find_role(role))
        cloud = identity.connect(base.stack(), OS_PROJECT_NAME=self._name)
        self._zun = readiness.containers(base.stack(), cloud)
        network = cloud.network.create_network(name=self._name)
        self.addCleanup(cloud.network.delete_network, network.id)
        cloud.network.create_subnet(
            name=self._name, network_id=network.id, ip_version=4,
            cidr='10.78.0.0/24', gateway_ip=None, enable_dhcp=False)

    def run(self, **arguments):
        """Run a container that fails.

        :returns: the reason
        """
        containers = self._zun.containers
        uuid = containers.run(name=self._name, command=base.SLEEP,
                              **arguments).uuid
        failed = base.wait_until('the container is in Error', lambda: (
            (found := containers.get(uuid)).status == 'Error'
            and found.task_state is None and found))
        containers.delete(uuid, force=True)
        base.wait_until('the container is deleted', lambda: not any(
            c.uuid == uuid for c in containers.list()))
        return failed.status_reason


class RegistryTestCase(base.TestCase):

    def setUp(self):
        super().setUp()
        self.registry = self.useFixture(Registry())

    def credentials(self, password):
        created = base.zun().registries.create(
            name=self.name(), domain=self.registry.address, username=USER,
            password=password)
        self.addCleanup(base.zun().registries.delete,
                        created.registry['uuid'])
        return created.registry['uuid']


class RegistryTest(RegistryTestCase):

    def test_right_credentials(self):
        container = self.run_container(
            image=self.registry.image, registry=self.credentials(PASSWORD))
        self.assertEqual('ok', self.output(container, 'echo ok'))
        self.assert_secret_is_nowhere()

    def assert_secret_is_nowhere(self):
        """Assert that no log has the password, in plain text or base64."""
        encoded = base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()
        for path in base.stack().logs.rglob('*.log'):
            text = path.read_text(errors='replace')
            self.assertNotIn(PASSWORD, text, path)
            self.assertNotIn(encoded, text, path)

    def test_another_project(self):
        """A pull by one project does not give others access to the image."""
        self.run_container(image=self.registry.image,
                           registry=self.credentials(PASSWORD))
        other = self.useFixture(Project(self.name()))
        for policy, words in (('never', 'was not found'),
                              ('ifnotpresent', 'refused access'),
                              ('always', 'refused access')):
            self.assertIn(words, other.run(
                image=self.registry.image, image_pull_policy=policy))
        # its own project may use it without the registry
        for policy in ('never', 'ifnotpresent'):
            self.run_container(image=self.registry.image,
                               image_pull_policy=policy)


class RegistryAloneTest(RegistryTestCase, base.AloneTestCase):

    def assert_refused(self, **arguments):
        before = self.look()
        container = self.create('run', image=self.registry.image,
                                **arguments)
        failed = self.wait_status(container, 'Error')
        self.assertIn('refused access', failed.status_reason)
        self.assertIn('registry create', failed.status_reason)
        self.assert_nothing_left(before)

    def test_wrong_credentials(self):
        self.assert_refused(registry=self.credentials('wrong'))

    def test_no_credentials(self):
        self.assert_refused(image_pull_policy='always')
