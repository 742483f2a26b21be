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

"""The guest's initramfs."""

import os
import subprocess
from unittest import mock

from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.image import guest_image
from kata_openstack.runtime.embedded.image import kernel
from tests.unit.runtime.embedded.image import base


class TestModules(base.FolderTestCase):
    def setUp(self):
        super().setUp()
        if not os.path.exists(guest_image.PYTHON):
            self.skipTest('the distribution has no Python here')

    def test_python_loads_them_without_their_source(self):
        made = guest_image._compiled({
            'agent/package/__init__.py': (b'', 0o644),
            'agent/package/part.py': (b'def where():\n    return __file__, '
                                      b'where.__code__.co_filename', 0o644),
            'init': (b'#!', 0o755)})
        self.assertEqual({'agent/package/__init__.pyc',
                          'agent/package/part.pyc', 'init'}, set(made))
        self.assertEqual((b'#!', 0o755), made['init'])
        for name, (content, _) in made.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        shown = subprocess.run(
            [os.path.realpath(guest_image.PYTHON), '-ISc',
             f'import sys; sys.path.insert(0, "{self.folder}/agent");'
             'import package.part; print(*package.part.where())'],
            check=True, capture_output=True, text=True).stdout
        # an error's text names the file as the guest knows it
        self.assertEqual([f'{self.folder}/agent/package/part.pyc',
                          '/agent/package/part.py'], shown.split())

    def test_an_error_says_why(self):
        error = self.assertRaises(
            errors.GuestImageFailed, guest_image._compiled,
            {'wrong.py': (b'wrong(', 0o644)})
        self.assertIn('wrong.py', str(error))


class TestBuild(base.FolderTestCase):
    def build(self, content):
        files = {'agent/main.py': (content, 0o644)}
        with (mock.patch.object(guest_image, '_files', return_value=files),
              mock.patch.object(guest_image, '_compiled',
                                side_effect=[{'main.pyc': (b'x', 0o644)}])
              as compiled):
            (self.folder / 'boot').mkdir(exist_ok=True)
            (self.folder / 'boot' / 'vmlinuz-6.1').touch()
            key, path = guest_image.build(
                kernel.Kernel(self.folder), self.folder, lambda text: None)
        return key, path, compiled.called

    def test_the_same_sources_are_the_same_image(self):
        first, path, compiled = self.build(b'1')
        self.assertTrue(compiled)
        self.assertIn(b'main.pyc', path.read_bytes())
        self.assertEqual((first, path, False), self.build(b'1'))
        self.assertNotEqual(first, self.build(b'2')[0])
