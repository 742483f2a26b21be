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

import threading

import fixtures
import grpc
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack.compute import images
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri


class NormaliseTest(base.TestCase):

    def test_table(self):
        digest = f'sha256:{"0" * 64}'
        for given, full in [
                ('busybox', 'docker.io/library/busybox:latest'),
                ('busybox:1', 'docker.io/library/busybox:1'),
                ('a/b', 'docker.io/a/b:latest'),
                ('index.docker.io/a/b', 'docker.io/a/b:latest'),
                ('docker.io/busybox', 'docker.io/library/busybox:latest'),
                ('host:5000/a', 'host:5000/a:latest'),
                ('127.0.0.1:5000/a/b/c:x.Y-1', '127.0.0.1:5000/a/b/c:x.Y-1'),
                ('localhost/a', 'localhost/a:latest'),
                ('quay.io/a/b@' + digest, 'quay.io/a/b@' + digest),
                ('[2001:db8::1]:5000/a', '[2001:db8::1]:5000/a:latest'),
                ('a__b/c-d.e', 'docker.io/a__b/c-d.e:latest'),
                (digest, digest)]:
            self.assertEqual(full, images.normalise(given))
            self.assertEqual(full, images.normalise(full))

    def test_refused(self):
        for given in ('', 'Upper', 'a:b:c', 'a b', '-a', 'a//b', 'a:',
                      'a@sha256:1', 'host:port/a', 'a/../b', 'a\n',
                      'http://a/b', 'x' * 600):
            self.assertRaises(exception.InvalidInput, images.normalise,
                              given)


class PullErrorTest(base.TestCase):
    """Error texts of containerd 1.6 and 1.7, and their exceptions."""

    def test_table(self):
        resolve = 'failed to resolve reference "r/i:1": '
        head = resolve + 'failed to do request: Head "https://r/v2/": '
        for words, kind in [
                (head + 'dial tcp: lookup r: no such host',
                 exception.RegistryUnreachable),
                (head + 'dial tcp 192.0.2.1:443: i/o timeout',
                 exception.RegistryUnreachable),
                (head + 'http: server gave HTTP response to HTTPS client',
                 exception.RegistryUnreachable),
                (head + 'x509: certificate signed by unknown authority',
                 exception.RegistryUnreachable),
                (resolve + 'unexpected status code [manifests 1]: '
                 '503 Service Unavailable', exception.RegistryUnreachable),
                (resolve + 'pull access denied, repository does not exist '
                 'or may require authorization: authorization failed: no '
                 'basic auth credentials', exception.RegistryDenied),
                (resolve + 'failed to authorize: failed to fetch oauth '
                 'token: unexpected status: 401 Unauthorized',
                 exception.RegistryDenied),
                (resolve + 'unexpected status code: 403 Forbidden',
                 exception.RegistryDenied),
                (resolve + 'r/i:1: not found', exception.ImageNotFound),
                ('no match for platform in manifest: not found',
                 exception.ImageNotFound),
                ('failed to extract layer sha256:40147ab4011: no space left '
                 'on device', exception.ImagePullFailed)]:
            error = images.pull_error('r/i:1', exception.RuntimeFailed(
                operation='PullImage', why=words))
            self.assertIs(kind, type(error), words)
            self.assertIn('r/i:1', str(error))

    def test_others_are_kept(self):
        error = exception.ContainerdUnavailable(address='a', why='w')
        self.assertIs(error, images.pull_error('i', error))


class PullTest(base.TestCase):

    def setUp(self):
        super().setUp()
        fake = self.useFixture(fake_containerd.FakeContainerd())
        self.state = fake.state
        client = cri.CriClient(fake.conf)
        self.addCleanup(client.close)
        self.images = images.Images(client)
        self.log = self.useFixture(fixtures.FakeLogger(level=0))

    def pulls(self):
        return [r for n, r in self.state.calls if n == 'PullImage']

    def test_policies(self):
        here = 'registry.test/image:1'
        self.images.pull(here, 'ifnotpresent', None)
        self.images.pull(here, 'never', None)
        self.assertEqual([], self.pulls())
        self.images.pull(here, 'always', None)
        self.assertEqual(1, len(self.pulls()))
        self.assertRaises(exception.InvalidInput, self.images.pull, here,
                          'sometimes', None)

    def test_credentials_reach_containerd_and_no_log(self):
        self.images.pull('r.test/i', 'always', {
            'server': 'r.test', 'username': 'me', 'password': 's3cret'})
        auth = self.pulls()[0].auth
        self.assertEqual(('me', 's3cret'), (auth.username, auth.password))
        self.state.fail['PullImage'] = (grpc.StatusCode.UNKNOWN, 'broken')
        error = self.assertRaises(
            exception.ImagePullFailed, self.images.pull, 'r.test/i',
            'always', {'server': '', 'username': 'me',
                       'password': 's3cret'})
        self.assertIsNone(error.__cause__)
        self.assertNotIn('s3cret', str(error) + self.log.output)

    def test_concurrent_pulls_join(self):
        inside, go, work = threading.Event(), threading.Event(), []

        def slow():
            work.append(1)
            inside.set()
            go.wait(10)
        first = threading.Thread(target=self.images._join,
                                 args=('key', slow))
        first.start()
        inside.wait(10)
        joined = threading.Thread(target=self.images._join,
                                  args=('key', slow))
        joined.start()
        self.images._join('other', lambda: work.append(2))
        go.set()
        first.join(10)
        joined.join(10)
        self.assertEqual([1, 2], sorted(work))

    def test_who_joins_gets_the_error(self):
        def fail():
            raise exception.ImageNotFound(image='i')
        self.assertRaises(exception.ImageNotFound, self.images._join, 1,
                          fail)
        self.assertEqual({}, self.images._pulls)
