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

from kata_openstack.compute.images import store
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri

HERE = 'registry.test/image:1'  # the fake has it, as if it was imported
NAME = 'r.test/app:1'


def auth(password):
    return {'server': 'https://r.test', 'username': 'me',
            'password': password}


class Case(base.TestCase):

    def setUp(self):
        super().setUp()
        fake = self.useFixture(fake_containerd.FakeContainerd())
        self.state, self.conf = fake.state, fake.conf
        self.client = cri.CriClient(fake.conf)
        self.addCleanup(self.client.close)
        self.images = self.new()
        self.log = self.useFixture(fixtures.FakeLogger(level=0))

    def new(self):
        return store.Images(self.client)

    def pulls(self):
        return [r for n, r in self.state.calls if n == 'PullImage']


class PullTest(Case):

    def test_policies(self):
        self.images.pull(HERE, 'ifnotpresent', None)
        self.images.pull(HERE, 'never', None)
        self.assertEqual([], self.pulls())
        self.images.pull(HERE, 'always', None)
        self.assertEqual(1, len(self.pulls()))
        self.assertRaises(exception.InvalidInput, self.images.pull, HERE,
                          'sometimes', None)

    def test_by_digest(self):
        digest = f'sha256:{"5" * 64}'
        self.state.registry = {f'r.test/app@{digest}': 'sha256:old',
                               NAME: 'sha256:new'}
        for reference in (f'r.test/app@{digest}', f'{NAME}@{digest}'):
            self.assertEqual('sha256:old', self.images.pull(
                reference, 'always', None)['id'])
            self.assertEqual('sha256:old',
                             self.images.resolve(reference))
        self.assertEqual('sha256:new', self.images.pull(
            NAME, 'always', None)['id'])

    def test_an_image_id_opens_nothing(self):
        ident = f'sha256:{"1" * 64}'
        self.state.images[NAME] = ident
        for reference in (ident, '1' * 64):
            self.assertRaises(exception.InvalidInput, self.images.pull,
                              reference, 'never', None)
            self.assertRaises(exception.InvalidInput, self.images.resolve,
                              reference)

    def test_what_was_pulled_is_described_though_the_tag_has_moved(self):
        def move(request):
            self.state.images[NAME] = 'sha256:3'
        self.state.during_pull = move
        self.state.images['keep'] = 'sha256:2'
        self.assertEqual('sha256:2', self.images.pull(
            NAME, 'always', None)['id'])

    def test_credentials_reach_containerd_and_no_log(self):
        self.images.pull('r.test/i', 'always', auth('s3cret'))
        sent = self.pulls()[0].auth
        self.assertEqual(('me', 's3cret', 'https://r.test'), (
            sent.username, sent.password, sent.server_address))
        self.state.fail['PullImage'] = (grpc.StatusCode.UNKNOWN, 'broken')
        error = self.assertRaises(
            exception.ImagePullFailed, self.images.pull, 'r.test/i',
            'always', auth('s3cret'))
        self.assertIsNone(error.__cause__)
        self.assertNotIn('s3cret', str(error) + self.log.output)

    def test_the_cause_is_in_the_log_only(self):
        self.state.fail['PullImage'] = (
            grpc.StatusCode.UNKNOWN, 'failed to do request: Head "https://'
            '10.0.0.5:22/v2/": dial tcp 10.0.0.5:22: connection refused')
        error = self.assertRaises(
            exception.RegistryUnreachable, self.images.pull,
            '10.0.0.5:22/a', 'always', None)
        self.assertNotIn('refused', str(error))
        self.assertIn('10.0.0.5:22: connection refused', self.log.output)


class JoinTest(Case):
    """Pulls of one image at the same time."""

    def setUp(self):
        super().setUp()
        self.go, self.arrived = threading.Event(), threading.Semaphore(0)

        def during(request):
            self.arrived.release()
            self.go.wait(10)
        self.state.during_pull = during

    def start(self, *args):
        thread = threading.Thread(target=self.images.pull, args=(
            NAME, 'always', *args))
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def finish(self, *threads):
        self.go.set()
        for thread in threads:
            thread.join(10)

    def test_equal_pulls_join(self):
        joined = threading.Event()

        class Watched(dict):
            def get(self, key):
                found = super().get(key)
                if found is not None:
                    joined.set()
                return found
        self.images._pulls = Watched()
        first = self.start(auth('same'))
        self.assertTrue(self.arrived.acquire(timeout=10))
        second = self.start(auth('same'))
        self.assertTrue(joined.wait(10))
        self.finish(first, second)
        self.assertEqual(1, len(self.pulls()))

    def test_other_credentials_do_not_join(self):
        threads = [self.start(credentials) for credentials in (
            auth('of a'), auth('of b'), None)]
        for _ in threads:
            self.assertTrue(self.arrived.acquire(timeout=10))
        self.assertEqual({'of a', 'of b', ''}, {
            request.auth.password for request in self.pulls()})
        self.finish(*threads)

    def test_who_joins_gets_the_error(self):
        def fail():
            raise exception.ImageNotFound(image='i')
        self.assertRaises(exception.ImageNotFound, self.images._join, 1,
                          fail)
        self.assertEqual({}, self.images._pulls)
