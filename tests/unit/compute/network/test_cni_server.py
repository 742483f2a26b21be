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

"""kata-cni and its server."""

import json
import os
import stat
import subprocess
import sys
from unittest import mock
import uuid

import fixtures
from tests.unit.compute.network import test_plugging

from kata_openstack.cmd import cni
from kata_openstack.compute.network import cni_server


class CniTest(test_plugging.Case):
    """kata-cni as a program, with the real server."""

    def setUp(self):
        super().setUp()
        self.path = self.fake.state.root / 'cni.sock'
        self.server = cni_server.CniServer(str(self.path), self.network)
        self.server.start()
        self.addCleanup(self.server.stop)
        self.pod = str(uuid.uuid4())

    def cni(self, command, netns='/netns', version='1.0.0', text=None):
        config = {'cniVersion': version, 'name': 'kata', 'type': 'kata-cni',
                  'socket': str(self.path)}
        done = subprocess.run(
            [sys.executable, '-c', 'import sys; from kata_openstack.cmd '
             'import cni; sys.exit(cni.main())'],
            input=text or json.dumps(config), capture_output=True, text=True,
            env={**os.environ, 'CNI_COMMAND': command,
                 'CNI_CONTAINERID': 'sandbox', 'CNI_NETNS': netns,
                 'CNI_IFNAME': 'eth0',
                 'CNI_ARGS': 'IgnoreUnknown=1;K8S_POD_NAMESPACE=n;'
                             f'K8S_POD_UID={self.pod}'})
        self.assertEqual('', done.stderr)
        return (done.returncode,
                json.loads(done.stdout) if done.stdout else None)

    def test_socket_is_roots(self):
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))

    def test_add_and_del(self):
        with self.network.expect(self.pod, [test_plugging.make_vif('a')]):
            code, result = self.cni('ADD')
            self.assertEqual(0, code)
            self.assertEqual('1.0.0', result['cniVersion'])
            self.assertEqual('192.0.2.5/24', result['ips'][0]['address'])
            self.assertEqual((0, None), self.cni('DEL'))
        self.assertEqual(['plug', 'unplug'],
                         [c[0] for c in self.plugin.calls])

    def test_old_versions_want_the_family(self):
        with self.network.expect(self.pod, [test_plugging.make_vif('a')]):
            _, result = self.cni('ADD', version='0.4.0')
        self.assertEqual('4', result['ips'][0]['version'])

    def test_version(self):
        code, result = self.cni('VERSION')
        self.assertEqual(0, code)
        self.assertIn('1.0.0', result['supportedVersions'])

    def test_errors(self):
        code, result = self.cni('ADD')
        self.assertEqual((1, 100), (code, result['code']))
        self.assertIn(self.pod, result['msg'])
        for expected, arguments in [
                (1, {'command': 'ADD', 'version': '9.0.0'}),
                (4, {'command': 'NONE'}),
                (6, {'command': 'ADD', 'text': '{'}),
                (6, {'command': 'ADD', 'text': '[]'})]:
            code, result = self.cni(**arguments)
            self.assertEqual((1, expected), (code, result['code']))

    def test_a_request_that_is_no_object(self):
        for request in ([], 'ADD', None, 7, {}, {'command': 'ADD'},
                        {'command': 'ADD', 'args': 3}):
            error = cni_server.answer(self.network, request)['error']
            self.assertEqual(100, error['code'], request)

    def test_an_answer_that_makes_no_sense(self):
        for line in ('[]', '{}', '{"result": 3}', 'null', '{', '{"error": 3}',
                     '{"error": {"code": "x"}}', '{"result": {"ips": 3}}'):
            with mock.patch.object(
                    cni, '_ask', side_effect=lambda *_, line=line:
                    json.loads(line)):
                failure = self.assertRaises(cni.Failure, cni.run, {
                    'CNI_COMMAND': 'ADD'}, '{"cniVersion": "1.0.0"}')
            self.assertEqual(11, failure.code, line)

    def test_kata_compute_is_down(self):
        self.server.stop()
        self.assertEqual(11, self.cni('ADD')[1]['code'])
        self.assertEqual((0, None), self.cni('DEL', netns='/no/such/netns'))
        self.assertEqual((0, None), self.cni('DEL', netns=''))
        here = self.useFixture(fixtures.TempDir()).path
        self.assertEqual(11, self.cni('DEL', netns=here)[1]['code'])

    def test_imports_nothing_heavy(self):
        """The imports of kata-cni delay the start of every pod."""
        done = subprocess.run(
            [sys.executable, '-c', 'import sys; before = set(sys.modules); '
             'import kata_openstack.cmd.cni; '
             'print(*(set(sys.modules) - before))'],
            capture_output=True, text=True, check=True)
        roots = {name.partition('.')[0] for name in done.stdout.split()}
        self.assertEqual(set(), roots - set(sys.stdlib_module_names)
                         - {'kata_openstack'})
