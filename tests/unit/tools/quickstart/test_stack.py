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

"""The stack's folders, passwords, ports, configuration and images."""

import configparser
import graphlib
import hashlib
import io
import json
import os
import pathlib
import tarfile
import tomllib

import fixtures

from tests.unit import base
from tools.quickstart import configuration
from tools.quickstart import images
from tools.quickstart import services
from tools.quickstart import settings


class StackTest(base.TestCase):

    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.state = pathlib.Path(folder, 's')
        self.stack = settings.open_stack(self.state, 30000)

    def test_passwords_are_kept_and_private(self):
        path = self.state / 'passwords.json'
        self.assertEqual(0o600, path.stat().st_mode & 0o777)
        again = settings.open_stack(self.state, None)
        self.assertEqual(self.stack, again)
        self.assertEqual(len(settings.PASSWORDS),
                         len(set(again.passwords.values())))

    def test_a_path_too_long_for_sockets(self):
        error = self.assertRaises(
            settings.QuickstartError, settings.open_stack,
            self.state / ('x' * 60), None)
        self.assertIn('--state-dir', str(error))

    def test_a_path_that_services_would_misread(self):
        for name in ('with space', 'a,b', 'a:b', 'gr\u00fcn', "it's"):
            error = self.assertRaises(
                settings.QuickstartError, settings.open_stack,
                pathlib.Path('/t', name), None)
            self.assertIn('--state-dir', str(error))

    def test_ports_cannot_change_under_a_running_stack(self):
        (self.stack.run / 'keystone.pid').touch()
        self.assertRaises(settings.QuickstartError, settings.open_stack,
                          self.state, 31000)

    def test_configuration_is_private_and_complete(self):
        for template, target in configuration.TEMPLATES.items():
            path = self.stack.render(template, self.stack.etc / target)
            self.assertEqual(0o600, path.stat().st_mode & 0o777)
            if path.suffix in ('.conf', '.ini') and 'rabbit' not in target:
                parser = configparser.RawConfigParser(strict=False)
                parser.read(path)
                self.assertTrue(parser.sections() or parser.defaults())
        self.assertEqual(0o700, self.stack.etc.stat().st_mode & 0o777)

    def test_everything_listens_on_loopback(self):
        for template in configuration.TEMPLATES:
            path = self.stack.render(template, self.stack.etc / template)
            self.assertNotIn('0.0.0.0', path.read_text())

    def test_containerd_configuration_is_merged(self):
        path = self.stack.render('containerd.toml', self.stack.etc / 'c',
                                 restrict_oom_score_adj='true')
        ours = tomllib.loads(path.read_text())
        plugin = 'io.containerd.grpc.v1.cri'
        handlers = {'plugins': {plugin: {'containerd': {
            'runtimes': {'kata': {'runtime_type': 'x'}}}}}}
        merged = configuration.merged(ours, handlers)['plugins'][plugin]
        self.assertEqual({'runtime_type': 'x'},
                         merged['containerd']['runtimes']['kata'])
        self.assertEqual('overlayfs', merged['containerd']['snapshotter'])
        self.assertTrue(merged['restrict_oom_score_adj'])

    def test_no_service_needs_itself(self):
        order = graphlib.TopologicalSorter({
            service.name: service.needs
            for service in services.all_services(self.stack)})
        order.prepare()  # raises CycleError

    def test_services_have_ports_of_their_own(self):
        ports = [service.port for service in
                 services.all_services(self.stack) if service.port]
        self.assertEqual(len(ports), len(set(ports)))
        self.assertTrue(all(30000 <= port < 30000 + len(settings.PORTS)
                            for port in ports))

    def test_no_password_in_an_argument(self):
        for service in services.all_services(self.stack):
            for password in self.stack.passwords.values():
                self.assertNotIn(password, ' '.join(service.command))

    def test_image_layout(self):
        folder = self.state / 'image'
        archive = images.layer()
        images.write_layout(folder, {'Cmd': ['sh']}, archive)
        index = json.loads((folder / 'index.json').read_text())
        manifest = self.blob(folder, index['manifests'][0])
        config = self.blob(folder, manifest['config'])
        self.assertEqual(['sh'], config['config']['Cmd'])
        self.assertEqual(
            ['sha256:' + hashlib.sha256(archive).hexdigest()],
            config['rootfs']['diff_ids'])
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            self.assertEqual('busybox', tar.getmember('bin/sh').linkname)

    def blob(self, folder, described):
        name = described['digest'].removeprefix('sha256:')
        content = (folder / 'blobs/sha256' / name).read_bytes()
        self.assertEqual(name, hashlib.sha256(content).hexdigest())
        self.assertEqual(described['size'], len(content))
        return json.loads(content)

    def test_clients_get_no_service_environment(self):
        self.assertEqual([], [name for name in
                              self.stack.cloud_environment()
                              if not name.startswith('OS_')])
        self.assertIn(settings.MARKER, self.stack.environment())
        self.assertNotIn(settings.MARKER, os.environ)
