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

"""JSON files are replaced in one step."""

import json
import os
import pathlib
import threading
from unittest import mock

import fixtures
from tests.unit import base

from kata_openstack.runtime import json_file


class ReplaceTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.path = self.folder / 'new' / 'file.json'

    def test_the_content_and_the_mode(self):
        self.addCleanup(os.umask, os.umask(0o077))
        json_file.replace(self.path, {'a': [1]})
        self.assertEqual({'a': [1]}, json.loads(self.path.read_text()))
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)
        json_file.replace(self.path, {}, mode=0o644)
        self.assertEqual(0o644, self.path.stat().st_mode & 0o777)
        self.assertEqual([self.path], list(self.path.parent.iterdir()))

    def test_a_failure_leaves_the_old_file(self):
        json_file.replace(self.path, 'old')
        for function in ('os.replace', 'os.fsync'):
            with mock.patch(function, side_effect=OSError('injected')):
                self.assertRaises(OSError, json_file.replace, self.path,
                                  'new', durable=True)
            self.assertEqual('"old"\n', self.path.read_text())
            self.assertEqual([self.path], list(self.path.parent.iterdir()))
        self.assertRaises(TypeError, json_file.replace, self.path, object())
        self.assertEqual([self.path], list(self.path.parent.iterdir()))

    def test_durable_content_is_on_the_disk_before_its_name(self):
        calls = []
        real = os.replace
        with (mock.patch('os.fsync', side_effect=lambda fd: calls.append(
                'folder' if os.path.isdir(f'/proc/self/fd/{fd}')
                else 'file')),
              mock.patch('os.replace', side_effect=lambda a, b: (
                  calls.append('replace'), real(a, b)))):
            json_file.replace(self.path, 1)
            self.assertEqual(['replace'], calls)
            calls.clear()
            json_file.replace(self.path, 1, durable=True)
        self.assertEqual(['file', 'replace', 'folder'], calls)

    def test_a_folder_that_cannot_be_synced(self):
        real = os.fsync

        def fsync(fd):
            if os.path.isdir(f'/proc/self/fd/{fd}'):
                raise OSError(22, 'Invalid argument')
            real(fd)
        with mock.patch('os.fsync', side_effect=fsync):
            json_file.replace(self.path, 'new', durable=True)
        self.assertEqual('"new"\n', self.path.read_text())

    def test_many_writers(self):
        failed = []

        def write(value):
            try:
                for _ in range(50):
                    json_file.replace(self.path, [value] * 500)
            except OSError as e:
                failed.append(e)
        threads = [threading.Thread(target=write, args=(n,))
                   for n in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if self.path.exists():
                found = json.loads(self.path.read_text())
                self.assertEqual([found[0]] * 500, found)
        self.assertEqual([], failed)
        self.assertEqual([self.path], list(self.path.parent.iterdir()))
