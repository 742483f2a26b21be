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

"""Data in the volumes that an image declares."""

import hashlib
import pathlib

import fixtures

from tests.e2e import base
from tools.quickstart import images


class VolumesTest(base.TestCase):

    def setUp(self):
        super().setUp()
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.image = f'{base.stack().registry}/{self.name()}:1'
        images.write_layout(folder, {
            'Cmd': ['sh'], 'Env': ['PATH=/bin'],
            'Volumes': {'/data': {}, '/www': {}}}, images.layer())
        images.push(base.stack(), folder, self.image)

    def test_what_keeps_the_data_and_what_does_not(self):
        container = self.run_container(image=self.image)
        for folder in ('/data', '/www'):
            self.output(container, f'touch {folder}/kept')
        self.output(container, 'rm /www/index.html')
        zun = base.zun().containers

        zun.stop(container.uuid, 0)
        self.wait_status(container, 'Stopped')
        zun.start(container.uuid)
        self.assert_kept(container)
        zun.restart(container.uuid, 0)
        self.assert_kept(container)
        zun.kill(container.uuid, 'SIGKILL')
        self.wait_status(container, 'Stopped')
        zun.start(container.uuid)
        self.assert_kept(container)

        zun.rebuild(container.uuid)
        self.wait_status(container, 'Running')
        self.assertEqual(['index.html'], self.files(container))

    def test_an_injected_file(self):
        content = bytes(range(256)) * 300
        container = self.run_container(image=self.image, mounts=[
            {'type': 'bind', 'destination': '/etc/app/my.conf',
             'source': content},
            {'type': 'bind', 'destination': '/data/seed',
             'source': b'in the volume'}])
        found = self.output(container, 'md5sum /etc/app/my.conf').split()[0]
        self.assertEqual(hashlib.md5(content).hexdigest(), found)
        zun = base.zun().containers
        zun.restart(container.uuid, 0)
        self.wait_status(container, 'Running')
        self.assertEqual('in the volume',
                         self.output(container, 'cat /data/seed'))
        self.assertEqual('644 0', self.output(
            container, "stat -c '%a %u' /etc/app/my.conf"))

    def assert_kept(self, container):
        self.wait_status(container, 'Running')
        self.assertEqual(['kept', 'kept'], self.files(container))

    def files(self, container):
        """Names of the files in both volumes."""
        return self.output(container, "sh -c 'ls /data; ls /www'").split()
