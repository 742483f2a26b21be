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
from kata_openstack.runtime.containerd import native
from kata_openstack import schema

HERE = 'registry.test/image:1'  # the fake has it, as if it was imported
NAME = 'r.test/app:1'
REFUSED = (grpc.StatusCode.UNKNOWN,
           'failed to authorize: no basic auth credentials')


def auth(password, shared=False):
    return {'server': 'https://r.test', 'username': 'me',
            'password': password, 'shared': shared}


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
        return store.Images(self.conf, self.client, native.NativeClient(
            self.conf, self.client.channel))

    def pulls(self):
        return [r for n, r in self.state.calls if n == 'PullImage']


class PullTest(Case):

    def test_policies(self):
        self.images.pull(HERE, 'ifnotpresent', None, 'a')
        self.images.pull(HERE, 'never', None, 'a')
        self.assertEqual([], self.pulls())
        self.images.pull(HERE, 'always', None, 'a')
        self.assertEqual(1, len(self.pulls()))

    def test_by_digest(self):
        digest = f'sha256:{"5" * 64}'
        self.state.registry = {f'r.test/app@{digest}': 'sha256:old',
                               NAME: 'sha256:new'}
        for reference in (f'r.test/app@{digest}', f'{NAME}@{digest}'):
            self.assertEqual('sha256:old', self.images.pull(
                reference, 'always', None, 'a')['id'])
            self.assertEqual('sha256:old',
                             self.images.resolve(reference, 'a')[0])
        self.assertEqual('sha256:new', self.images.pull(
            NAME, 'always', None, 'a')['id'])

    def test_an_image_id_opens_nothing(self):
        ident = f'sha256:{"1" * 64}'
        self.state.images[NAME] = ident
        for reference in (ident, '1' * 64):
            self.assertRaises(exception.InvalidInput, self.images.pull,
                              reference, 'never', None, 'a')
            self.assertRaises(exception.InvalidInput, self.images.resolve,
                              reference, 'a')

    def test_what_was_pulled_is_described_though_the_tag_has_moved(self):
        def move(request):
            self.state.images[NAME] = 'sha256:3'
        self.state.during_pull = move
        self.state.images['keep'] = 'sha256:2'
        self.assertEqual('sha256:2', self.images.pull(
            NAME, 'always', None, 'a')['id'])

    def test_credentials_reach_containerd_and_no_log(self):
        self.images.pull('r.test/i', 'always', auth('s3cret'), 'a')
        sent = self.pulls()[0].auth
        self.assertEqual(('me', 's3cret', 'https://r.test'), (
            sent.username, sent.password, sent.server_address))
        self.state.fail['PullImage'] = (grpc.StatusCode.UNKNOWN, 'broken')
        error = self.assertRaises(
            exception.ImagePullFailed, self.images.pull, 'r.test/i',
            'always', auth('s3cret'), 'a')
        self.assertIsNone(error.__cause__)
        self.assertNotIn('s3cret', str(error) + self.log.output)
        self.assertNotIn('s3cret', str(self.state.image_labels))
        self.assertNotIn('s3cret', str(self.state.leases))

    def test_the_cause_is_in_the_log_only(self):
        self.state.fail['PullImage'] = (
            grpc.StatusCode.UNKNOWN, 'failed to do request: Head "https://'
            '10.0.0.5:22/v2/": dial tcp 10.0.0.5:22: connection refused')
        error = self.assertRaises(
            exception.RegistryUnreachable, self.images.pull,
            '10.0.0.5:22/a', 'always', None, 'a')
        self.assertNotIn('refused', str(error))
        self.assertIn('10.0.0.5:22: connection refused', self.log.output)


class RightsTest(Case):

    def refuse(self):
        """From now on the registry refuses every pull."""
        self.state.fail['PullImage'] = REFUSED

    def assert_no_access(self, project, credentials=None):
        self.refuse()
        error = self.assertRaises(
            exception.ImageNotFound, self.images.pull, NAME, 'never',
            credentials, project)
        absent = self.assertRaises(
            exception.ImageNotFound, self.images.pull, 'r.test/none:1',
            'never', credentials, project)
        # the same words as for an image that is not there
        self.assertEqual(str(absent).replace('none', 'app'), str(error))
        for policy in ('ifnotpresent', 'always'):
            self.assertRaises(exception.RegistryDenied, self.images.pull,
                              NAME, policy, credentials, project)
        self.assertRaises(exception.ImageNotFound, self.images.resolve, NAME,
                          project)
        self.state.fail = {}

    def test_a_private_image(self):
        self.images.pull(NAME, 'ifnotpresent', auth('of a'), 'a')
        for _ in range(2):
            self.assert_no_access('b')
            self.assert_no_access('b', auth('wrong'))
            self.assert_no_access(None)
            self.refuse()
            # a needs the registry no more
            for policy in ('ifnotpresent', 'never'):
                self.images.pull(NAME, policy, None, 'a')
            self.assertEqual('sha256:2',
                             self.images.resolve(NAME, 'a')[0])
            self.images = self.new()  # as after a restart

    def test_its_other_names_are_private_too(self):
        digest = f'r.test/app@sha256:{"5" * 64}'
        self.images.pull(NAME, 'always', auth('of a'), 'a')
        self.state.images[digest] = 'sha256:2'  # as the CRI plugin does
        self.images.pull(digest, 'never', None, 'a')
        self.assertRaises(exception.ImageNotFound, self.images.pull, digest,
                          'never', None, 'b')

    def test_another_project_proves_its_right(self):
        self.images.pull(NAME, 'always', auth('of a'), 'a')
        self.images.pull(NAME, 'ifnotpresent', auth('of b'), 'b')
        self.assertEqual('of b', self.pulls()[-1].auth.password)
        self.refuse()
        for project in 'ab':
            self.images.pull(NAME, 'never', None, project)
        self.assert_no_access('c')

    def test_what_needs_no_credentials_is_public(self):
        self.images.pull(NAME, 'always', auth('of a'), 'a')
        self.images.pull(NAME, 'ifnotpresent', None, 'b')
        self.images.pull(NAME, 'always', auth('of a'), 'a')
        self.refuse()
        self.images.pull(NAME, 'never', None, 'c')

    def test_the_operators_credentials_serve_all(self):
        self.images.pull(NAME, 'always', auth('x', shared=True), 'a')
        self.refuse()
        self.images.pull(NAME, 'never', None, 'b')
        self.assertEqual('sha256:2', self.images.resolve(NAME, 'b')[0])

    def test_a_new_image_of_the_same_name(self):
        self.images.pull(NAME, 'always', auth('of a'), 'a')
        self.state.registry[NAME] = 'sha256:3'
        self.images.pull(NAME, 'always', auth('of b'), 'b')
        self.assert_no_access('a')
        self.images.resolve(NAME, 'b')


class AllowedRegistriesTest(Case):

    def test_refused_before_anything_is_dialled(self):
        self.conf.set_override('allowed_registries', ['r.test'], 'compute')
        self.images = self.new()
        for policy in schema.POLICIES:
            self.assertRaises(exception.InvalidInput, self.images.pull, HERE,
                              policy, None, 'a')
        self.assertRaises(exception.InvalidInput, self.images.resolve, HERE,
                          'a')
        self.assertEqual([], self.state.calls)
        self.images.pull(NAME, 'always', None, 'a')


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
        first = self.start(auth('same'), 'a')
        self.assertTrue(self.arrived.acquire(timeout=10))
        second = self.start(auth('same'), 'b')
        self.assertTrue(joined.wait(10))
        self.finish(first, second)
        self.assertEqual(1, len(self.pulls()))
        for project in 'ab':  # both have proved that they may
            self.images.resolve(NAME, project)
        self.assertRaises(exception.ImageNotFound, self.images.resolve, NAME,
                          'c')

    def test_other_credentials_do_not_join(self):
        threads = [self.start(auth(f'of {project}'), project)
                   for project in 'ab'] + [self.start(None, 'c')]
        for _ in threads:
            self.assertTrue(self.arrived.acquire(timeout=10))
        self.assertEqual({'of a', 'of b', ''}, {
            request.auth.password for request in self.pulls()})
        self.finish(*threads)

    def test_others_cannot_use_it_before_it_has_a_label(self):
        pull = self.start(auth('of a'), 'a')
        self.assertTrue(self.arrived.acquire(timeout=10))
        # the image is in containerd already
        self.assertIn(NAME, self.state.images)
        self.assertRaises(exception.ImageNotFound, self.images.resolve, NAME,
                          'b')
        self.finish(pull)

    def test_who_joins_gets_the_error(self):
        def fail():
            raise exception.ImageNotFound(image='i')
        self.assertRaises(exception.ImageNotFound, self.images._join, 1,
                          fail)
        self.assertEqual({}, self.images._pulls)
