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

"""The registry's proof, with a program in the place of skopeo."""

import json
import os
import pathlib
import tomllib
from unittest import mock

import fixtures

from kata_openstack.compute.images import proof
from kata_openstack.compute.images import registry_hosts
from kata_openstack import exception
from kata_openstack import image_names
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from tests.unit import base

ID = f'sha256:{"1" * 64}'
MANIFEST = json.dumps({'schemaVersion': 2, 'config': {'digest': ID}})
AUTH = {'username': 'user', 'password': 'pass:word', 'shared': False}
# Writes its arguments, the file of credentials and the limit that it was
# given, and the manifest into the folder.
SKOPEO = """\
#!/bin/sh
printf '%s\\n' "$@" > {0}/arguments
ulimit -f > {0}/limit
: > {0}/registries
while [ $# -gt 0 ]; do
    case $1 in
    --src-authfile) cat "$2" > {0}/credentials ;;
    --registries-conf) cat "$2" > {0}/registries ;;
    dir:*) folder=${{1#dir:}}; printf '%s' '{1}' > $folder/manifest.json ;;
    esac
    shift
done
"""


class ProofTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(fixtures.EnvironmentVariable(
            'PATH', f'{self.folder}:{os.environ["PATH"]}'))
        self.answer('')
        self.config = {}
        self.client = mock.Mock()
        self.client.status = lambda verbose: pb.StatusResponse(
            info={'config': json.dumps(self.config)})
        self.prover = self.new(20)

    def new(self, timeout):
        return proof.Prover(self.client, self.folder / 'proofs', timeout)

    def answer(self, line, manifest=MANIFEST):
        program = self.folder / 'skopeo'
        program.write_text(SKOPEO.format(self.folder, manifest) + line)
        program.chmod(0o755)

    def prove(self, reference='r.test/app:1', auth=None):
        self.prover.prove(image_names.parse(reference), ID, 3 << 20, auth)
        return (self.folder / 'arguments').read_text().splitlines()

    def assert_refused(self, why, **more):
        with self.assertLogs(proof.__name__, 'WARNING') as logs:
            error = self.assertRaises(exception.ImagePullFailed, self.prove,
                                      **more)
        [line] = [r.getMessage() for r in logs.records]
        self.assertIn(why, line)
        # the tenant does not learn that the node has the image
        self.assertEqual(str(exception.ImagePullFailed(
            image='r.test/app:1',
            why='the node could not fetch or unpack it')), str(error))

    def test_the_image_is_downloaded(self):
        *arguments, name, target = self.prove()
        self.assertEqual('docker://r.test/app:1', name)
        self.assertEqual(
            ['--insecure-policy', '--tmpdir', target.removeprefix('dir:'),
             'copy', '--quiet', '--remove-signatures', '--src-authfile'],
            arguments[:-1])
        # not those of root
        self.assertEqual({'auths': {}}, self.credentials())
        self.assertEqual([], list((self.folder / 'proofs').iterdir()))
        # in blocks of 512 bytes
        self.assertEqual('8192\n', (self.folder / 'limit').read_text())

    def test_by_digest(self):
        name = f'r.test/app@sha256:{"1" * 64}'
        self.assertEqual(f'docker://{name}', self.prove(name)[-2])

    def test_credentials(self):
        arguments = self.prove(auth=AUTH)
        self.assertNotIn('pass', ' '.join(arguments))
        self.assertEqual(
            {'auths': {'r.test': {'auth': 'dXNlcjpwYXNzOndvcmQ='}}},
            self.credentials())

    def credentials(self):
        return json.loads((self.folder / 'credentials').read_text())

    def test_plain_http_only_on_this_host(self):
        for host in ('localhost:5000', '127.0.0.1:5000', '127.1.2.3',
                     '[::1]:5000'):
            self.assertIn('--src-tls-verify=false', self.prove(f'{host}/a:1'))
        for host in ('r.test:5000', '10.0.0.1:5000', 'localhost.test'):
            self.assertNotIn('--src-tls-verify=false', self.prove(f'{host}/a:1'))

    def test_mirrors_of_containerd(self):
        hosts = self.folder / 'certs.d' / '_default' / 'hosts.toml'
        hosts.parent.mkdir(parents=True)
        self.config['registry'] = {'configPath': str(hosts.parents[1])}
        self.prove()
        self.assertEqual('', self.registries())
        hosts.write_text(
            '[host."http://m.test:5000"]\n[host."https://n.test"]\n'
            'skip_verify = true\n[host."https://o.test/path"]\n'
            '[host."https://push.test"]\ncapabilities = ["push"]\n')
        self.prove()
        [registry] = tomllib.loads(self.registries())['registry']
        self.assertEqual({
            'prefix': 'r.test', 'location': 'r.test', 'mirror': [
                {'location': 'm.test:5000', 'insecure': True},
                {'location': 'n.test', 'insecure': True}]}, registry)
        # its own file counts alone
        own = hosts.parents[1] / 'r.test' / 'hosts.toml'
        own.parent.mkdir()
        own.write_text('server = "https://s.test"')
        self.prove()
        [registry] = tomllib.loads(self.registries())['registry']
        self.assertEqual([{'location': 's.test', 'insecure': False}],
                         registry['mirror'])
        own.write_text('no toml')
        with self.assertLogs(registry_hosts.__name__, 'WARNING'):
            self.prove()
        self.assertEqual('', self.registries())

    def registries(self):
        return (self.folder / 'registries').read_text()

    def test_another_image(self):
        for manifest in ('{"config": {"digest": "sha256:2"}}',
                         '{"schemaVersion": 1}'):
            self.answer('', manifest)
            self.assert_refused('it has the image')

    def test_no_answer(self):
        self.answer('echo \'level=fatal msg="manifest unknown"\' >&2; exit 1')
        self.assert_refused('"manifest unknown"')

    def test_a_registry_that_is_mute(self):
        self.answer('exec sleep 60')
        self.prover = self.new(0.2)
        self.assert_refused('within 0.2 s')

    def test_no_skopeo(self):
        (self.folder / 'skopeo').unlink()
        self.useFixture(fixtures.EnvironmentVariable(
            'PATH', f'{self.folder}:/nonexistent'))
        (self.folder / 'prlimit').symlink_to('/usr/bin/prlimit')
        self.assert_refused('skopeo')

    def test_what_a_crash_left_is_removed(self):
        left = self.folder / 'proofs' / 'x'
        left.mkdir(parents=True)
        self.new(20)
        self.assertFalse(left.exists())
