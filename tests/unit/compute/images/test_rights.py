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

import time
from unittest import mock

import fixtures
import grpc
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack.compute.images import rights
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native

REPOSITORY = 'r.test/app'
NAME = f'{REPOSITORY}:1'
ID = 'sha256:2'
_FAILED = (grpc.StatusCode.UNKNOWN, 'injected')


class RightsTestCase(base.TestCase):

    def setUp(self):
        super().setUp()
        fake = self.useFixture(fake_containerd.FakeContainerd())
        self.state, self.conf = fake.state, fake.conf
        self.client = cri.CriClient(fake.conf)
        self.addCleanup(self.client.close)
        self.rights = self.new()
        self.prove = mock.Mock()

    def new(self):
        """As after a restart of kata-compute."""
        return rights.Rights(self.client, native.NativeClient(
            self.conf, self.client.channel), 20)

    def appear(self, name=NAME, ident=ID):
        """As when a pull has ended in containerd."""
        self.state.images[name] = ident
        return ident

    def may(self, project, repository=REPOSITORY, ident=ID):
        return self.rights.may_use(project, repository, ident)


class RightsTest(RightsTestCase):

    def test_what_the_operator_imported_is_open(self):
        self.appear()
        self.assertTrue(self.may('a'))
        self.assertTrue(self.may(None))

    def test_bound_to_who_pulled_it(self):
        self.assertEqual(ID, self.rights.bind('a', REPOSITORY, self.appear,
                                              self.prove))
        self.assertTrue(self.may('a'))
        for other in ('b', '', None, '-'):
            self.assertFalse(self.may(other))
        self.rights.bind('b', REPOSITORY, self.appear, self.prove)
        self.assertTrue(self.may('a'))
        self.assertTrue(self.may('b'))
        self.assertEqual({}, self.state.leases)

    def test_a_restart_changes_nothing(self):
        self.rights.bind('a', REPOSITORY, self.appear, self.prove)
        self.rights = self.new()
        self.assertTrue(self.may('a'))
        self.assertFalse(self.may('b'))

    def test_a_pull_without_a_project(self):
        self.rights.bind(None, REPOSITORY, self.appear, self.prove)
        self.assertFalse(self.may('b'))
        self.assertFalse(self.may(None))

    def test_a_pull_without_credentials_opens_it(self):
        self.rights.bind('a', REPOSITORY, self.appear, self.prove)
        self.rights.open(REPOSITORY, self.appear, self.prove)
        self.assertTrue(self.may('b'))
        self.assertEqual({}, self.state.image_labels[ID])

    def test_a_pull_does_not_take_what_is_open(self):
        """Also if the pull uses another of its names."""
        self.appear(f'{REPOSITORY}@sha256:{"0" * 64}')
        self.rights.bind('a', REPOSITORY, self.appear, self.prove)
        self.assertTrue(self.may('b'))

    def test_two_repositories_with_the_same_image(self):
        self.appear('public.test/app:1')
        self.rights.bind('a', REPOSITORY, self.appear, self.prove)
        self.assertFalse(self.may('b'))
        self.assertTrue(self.may('b', 'public.test/app'))
        self.rights.open('public.test/app', lambda: ID, self.prove)
        self.assertFalse(self.may('b'))

    def test_the_image_of_a_running_pull_is_not_open(self):
        self.appear(f'{REPOSITORY}:old', 'sha256:1')

        def pull():
            self.appear()
            self.assertFalse(self.may('a'))
            self.assertTrue(self.may('a', ident='sha256:1'))
            # a pull without credentials that ends just now
            self.appear(f'{REPOSITORY}:public', 'sha256:3')
            self.rights.open(REPOSITORY, lambda: 'sha256:3', self.prove)
            self.assertTrue(self.may('b', ident='sha256:3'))
            # another with credentials, of the same repository
            self.rights.bind('c', REPOSITORY, lambda: 'sha256:1', self.prove)
            self.assertTrue(self.may('b', ident='sha256:1'))
            self.assertFalse(self.may('a'))
            return ID
        self.rights.bind('a', REPOSITORY, pull, self.prove)
        self.assertTrue(self.may('a'))
        self.assertFalse(self.may('c'))
        self.assertEqual({}, self.state.leases)

    def test_a_pull_that_the_registry_refused_changes_nothing(self):
        """Else a tenant could close images for others, by wrong passwords."""
        def pull():
            raise exception.RegistryDenied(image=NAME)
        self.assertRaises(exception.RegistryDenied, self.rights.bind, 'a',
                          REPOSITORY, pull, self.prove)
        self.assertEqual({}, self.state.leases)
        self.appear()
        self.assertTrue(self.may('b'))

    def test_the_image_of_a_pull_that_took_too_long_is_not_open(self):
        """containerd may have ended it after our time-out."""
        self.appear(f'{REPOSITORY}:old', 'sha256:1')
        now = time.monotonic()
        clock = self.useFixture(fixtures.MockPatchObject(
            time, 'monotonic', return_value=now)).mock

        def pull():
            clock.return_value += 20
            raise exception.RegistryUnreachable(image=NAME)
        self.assertRaises(exception.RegistryUnreachable, self.rights.bind,
                          'a', REPOSITORY, pull, self.prove)
        self.appear()
        self.assertFalse(self.may('a'))
        self.assertEqual([REPOSITORY], [
            labels[rights.PULL] for labels in self.state.leases.values()])
        clock.return_value += 100
        self.rights.bind('x', 'r.test/other', self.appear, self.prove)
        self.assertEqual({}, self.state.leases)
        self.assertFalse(self.may('a'))
        self.assertTrue(self.may('a', ident='sha256:1'))
        self.rights.bind('a', REPOSITORY, self.appear, self.prove)
        self.assertTrue(self.may('a'))
        self.assertFalse(self.may('b'))

    def test_a_crash_during_a_pull(self):
        self.appear(f'{REPOSITORY}:old', 'sha256:1')
        self.state.fail = {'Update': _FAILED}
        self.assertRaises(exception.RuntimeFailed, self.rights.bind, 'a',
                          REPOSITORY, self.appear, self.prove)
        self.state.fail = {}
        self.rights = self.new()
        self.assertFalse(self.may('b'))
        self.assertTrue(self.may('b', ident='sha256:1'))
        self.rights.bind('x', 'r.test/other', self.appear, self.prove)
        self.assertEqual({}, self.state.leases)
        self.assertFalse(self.may('b'))
        self.assertTrue(self.may('b', ident='sha256:1'))

    def test_a_lease_that_cannot_be_removed(self):
        self.state.fail = {'LeaseDelete': _FAILED}
        self.rights.bind('a', REPOSITORY, self.appear, self.prove)
        self.assertTrue(self.may('a'))
        self.state.fail = {}
        now = time.monotonic()
        with mock.patch.object(time, 'monotonic', lambda: now + 100):
            self.rights.bind('b', REPOSITORY, self.appear, self.prove)
        self.assertEqual({}, self.state.leases)

    def test_a_removed_image_is_not_open(self):
        self.assertFalse(self.may('a'))

    def test_the_label_stays_short(self):
        projects = [f'{number:032x}' for number in range(90)]
        self.appear()
        self.state.image_labels[ID] = {
            rights.USERS + REPOSITORY: ' '.join(projects)}
        for project in ('a' * 32, 'b' * 32):
            self.rights.bind(project, REPOSITORY, self.appear, self.prove)
        (label,) = self.state.image_labels[ID].values()
        self.assertLess(len(label), 3500)
        for project in ('a' * 32, 'b' * 32, projects[-1]):
            self.assertTrue(self.may(project))
        self.assertFalse(self.may(projects[0]))


class ProofTest(RightsTestCase):
    """A repository names an image that another one gave to the node."""

    OTHER = 'tenant.test/mine'

    def appear_too(self):
        return self.appear(f'{self.OTHER}:1')

    def refuse(self, image_id):
        raise exception.ImagePullFailed(image=image_id, why='no proof')

    def assert_refused(self, project='b'):
        self.assertRaises(exception.ImagePullFailed, self.rights.open,
                          self.OTHER, self.appear_too, self.refuse)
        self.assertFalse(self.may(project, self.OTHER))
        self.assertRaises(exception.ImagePullFailed, self.rights.bind,
                          project, self.OTHER, self.appear_too, self.refuse)
        self.assertFalse(self.may(project, self.OTHER))

    def test_a_private_image(self):
        self.rights.bind('a', REPOSITORY, self.appear, self.refuse)
        self.assert_refused()
        self.assertEqual({}, self.state.leases)
        self.rights = self.new()
        self.assertFalse(self.may('b', self.OTHER))
        self.assertTrue(self.may('a'))
        self.rights.open(self.OTHER, self.appear_too, self.prove)
        self.prove.assert_called_once_with(ID)
        self.assertTrue(self.may('b', self.OTHER))
        # once is enough for this repository
        self.rights.open(self.OTHER, self.appear_too, self.refuse)

    def test_private_in_both(self):
        self.rights.bind('a', REPOSITORY, self.appear, self.refuse)
        self.rights.bind('b', self.OTHER, self.appear_too, self.prove)
        self.prove.assert_called_once_with(ID)
        self.rights.bind('b', self.OTHER, self.appear_too, self.refuse)
        self.assertRaises(exception.ImagePullFailed, self.rights.bind, 'c',
                          self.OTHER, self.appear_too, self.refuse)

    def test_the_image_is_not_open_before_the_proof(self):
        self.rights.bind('a', REPOSITORY, self.appear, self.refuse)

        def prove(image_id):
            self.assertFalse(self.may('b', self.OTHER))
            self.rights = self.new()  # as after a crash
            self.assertFalse(self.may('b', self.OTHER))
        self.rights.open(self.OTHER, self.appear_too, prove)

    def test_an_open_image_needs_no_proof(self):
        self.appear()
        self.rights.open(self.OTHER, self.appear_too, self.refuse)
        self.assertTrue(self.may('b', self.OTHER))
        self.rights.bind('c', 'third.test/x', lambda: ID, self.refuse)

    def test_an_image_that_this_pull_brought_needs_none(self):
        self.rights.bind('a', REPOSITORY, self.appear, self.refuse)
        self.rights.open(self.OTHER, lambda: self.appear(
            f'{self.OTHER}:2', 'sha256:3'), self.refuse)

    def test_pulls_at_the_same_time(self):
        """The private one has no label before the other one ends."""
        def pull():
            self.appear()
            self.assert_refused()
            return ID
        # nor can it know that it was the first
        self.rights.bind('a', REPOSITORY, pull, self.prove)
        self.assertTrue(self.may('a'))

    def test_the_private_pull_begins_later_and_ends_earlier(self):
        def pull():
            self.rights.bind('a', REPOSITORY, self.appear, self.prove)
            return self.appear_too()
        self.assertRaises(exception.ImagePullFailed, self.rights.open,
                          self.OTHER, pull, self.refuse)
        self.assertTrue(self.may('a'))

    def test_two_without_a_proof_do_not_open_it_for_each_other(self):
        self.rights.bind('a', REPOSITORY, self.appear, self.refuse)
        self.assert_refused()
        self.assertRaises(
            exception.ImagePullFailed, self.rights.open, 'tenant.test/two',
            lambda: self.appear('tenant.test/two:1'), self.refuse)

    def test_a_layer_of_a_private_image(self):
        """A manifest of the tenant's own names it."""
        self.state.layers = {ID: ['base', 'secret'],
                             'sha256:3': ['secret', 'own']}
        self.rights.bind('a', REPOSITORY, self.appear, self.refuse)
        self.assertRaises(
            exception.ImagePullFailed, self.rights.open, self.OTHER,
            lambda: self.appear(f'{self.OTHER}:1', 'sha256:3'), self.refuse)
        self.assertFalse(self.may('b', self.OTHER, 'sha256:3'))

    def test_a_layer_of_an_open_image(self):
        self.state.layers = {ID: ['base', 'secret'],
                             'sha256:3': ['base', 'own'],
                             'sha256:4': ['base']}
        self.appear('public.test/base:1', 'sha256:4')
        self.rights.bind('a', REPOSITORY, self.appear, self.refuse)
        self.rights.open(self.OTHER, lambda: self.appear(
            f'{self.OTHER}:1', 'sha256:3'), self.refuse)

    def test_layers_of_the_projects_own_images(self):
        """They need no proof, unless the new image is open to all."""
        self.state.layers = {ID: ['base'], 'sha256:3': ['base', 'own']}
        self.rights.bind('a', REPOSITORY, self.appear, self.refuse)
        self.rights.bind('a', self.OTHER, lambda: self.appear(
            f'{self.OTHER}:1', 'sha256:3'), self.refuse)
        self.assertRaises(
            exception.ImagePullFailed, self.rights.open, self.OTHER,
            lambda: self.appear(f'{self.OTHER}:1', 'sha256:3'), self.refuse)
