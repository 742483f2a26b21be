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

import contextlib
import io
import json
import os
import subprocess
import sys
from unittest import mock

from kata_openstack.cmd import shim
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack import version
from tests.unit import base


class TestFlags(base.TestCase):
    def test_as_containerd_gives_them(self):
        command, flags = shim._parse([
            '-namespace', 'k8s.io', '-address', '/run/c.sock',
            '-publish-binary', '/usr/bin/containerd', '-id', 'abc',
            '-debug', 'start'])
        self.assertEqual('start', command)
        self.assertEqual('abc', flags['id'])
        self.assertEqual('k8s.io', flags['namespace'])
        self.assertIn('debug', flags)

    def test_other_notations(self):
        self.assertEqual(
            ('delete', {'id': 'abc', 'bundle': '/b'}),
            shim._parse(['--id=abc', '--bundle=/b', 'delete']))

    def test_an_id_that_the_runtime_uses_itself(self):
        """Its clean-up would remove the sockets of all shims."""
        for command in ('start', 'delete'):
            with (mock.patch.object(sys, 'argv', ['s', '-id', 's', command]),
                  mock.patch.object(shim.program, command) as called,
                  mock.patch.object(os, '_exit'),
                  contextlib.redirect_stderr(io.StringIO()) as told):
                self.assertEqual(1, shim.main())
            called.assert_not_called()
            self.assertIn("the ID 's' is a name that", told.getvalue())

    def info(self, options):
        answer = subprocess.run(
            [sys.executable, '-c', 'import sys\n'
             'from kata_openstack.cmd import shim\nsys.exit(shim.main())',
             '-info'], input=options, capture_output=True, check=True).stdout
        return messages.INFO.decode(answer)

    def test_info(self):
        """containerd 2 asks each handler for its features."""
        options = {'type_url': 'runtimeoptions.v1.Options', 'value': b'abc'}
        found = self.info(messages.ANY.encode(options))
        self.assertEqual('io.containerd.kata-embedded.v2', found['name'])
        self.assertEqual({'version': version.version()}, found['version'])
        self.assertEqual(options, found['options'])
        self.assertEqual(
            'types.containerd.io/opencontainers/runtime-spec/1/features/'
            'Features', found['features']['type_url'])
        features = json.loads(found['features']['value'])
        self.assertIn('rro', features['mountOptions'])
        # what the runtime refuses
        self.assertNotIn('user', features['linux']['namespaces'])
        self.assertNotIn('rshared', features['mountOptions'])

    def test_info_without_options(self):
        for options in (b'', b'\xff'):
            self.assertIsNone(self.info(options)['options'])

    def test_it_stays_quick_to_start(self):
        """Most runs need few modules; heavy imports would slow down all."""
        loaded = subprocess.run(
            [sys.executable, '-c', 'import sys, kata_openstack.cmd.shim; '
             'print(*sys.modules)'], capture_output=True, text=True,
            check=True).stdout.split()
        for module in ('asyncio', 'ctypes', 'dataclasses', 'google.protobuf',
                       'oslo_config', 'pyroute2'):
            self.assertNotIn(module, loaded)
