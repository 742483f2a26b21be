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

"""Rebuilds of containers that run the command of their image."""

import pathlib

import fixtures

from tests.e2e import base
from tools.quickstart import images


class RebuildTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def image(self, *command):
        """Push an image that runs ``command``."""
        name = self.name()
        reference = f'{base.stack().registry}/{name}:1'
        images.write_layout(self.folder / name, {
            'Cmd': list(command), 'Env': ['PATH=/bin']}, images.layer())
        images.push(base.stack(), self.folder / name, reference)
        return reference

    def run_image(self, image):
        container = base.zun().containers.run(image=image, name=self.name())
        self.addCleanup(self.remove, container.uuid)
        return container

    def rebuild(self, container, image):
        base.zun().containers.rebuild(container.uuid, image=image)

    def test_the_command_is_the_new_images(self):
        container = self.run_image(self.image('sleep', '3600'))
        before = self.wait_status(container, 'Running').addresses
        self.rebuild(container, self.image('sleep', '4800'))
        base.wait_until('the new command runs', lambda: base.zun().containers
                        .get(container.uuid).command == ['sleep', '4800'])
        found = self.wait_status(container, 'Running')
        self.assertEqual(before, found.addresses)
        self.assertIn('4800', self.output(container, 'ps'))

    def test_after_a_command_that_does_not_exist(self):
        container = self.run_image(self.image('no-such-command'))
        failed = self.wait_status(container, 'Error')
        self.assertIn('no-such-command', failed.status_reason)
        self.assertEqual({}, failed.addresses)
        self.rebuild(container, self.image('sleep', '3600'))
        created = self.wait_status(container, 'Created')
        base.zun().containers.start(container.uuid)
        self.wait_status(container, 'Running')
        (addresses,) = created.addresses.values()
        self.assertIn(addresses[0]['addr'],
                      self.output(container, 'ip -4 addr show eth0'))
