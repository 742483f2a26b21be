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

import fixtures

from kata_openstack.compute.images import pull_watch
from kata_openstack import exception
from tests.unit import base


class Space:
    """A disk. Its space is enough, if ``free`` is not below ``reserve``."""

    reserve = 10
    free_now = 20

    def free(self):
        return self.free_now

    def check(self, what, size=0):
        if self.free_now < self.reserve:
            raise self.error(what, 0, self.free_now)

    def error(self, what, size, free):
        return exception.NotEnoughDisk(what=what, asked_mib=self.reserve,
                                       reserve_mib=self.reserve,
                                       free_mib=free)


class PullWatchTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.space = Space()
        self.watch = pull_watch.PullWatch(self.space)
        self.now = 0.0
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.images.pull_watch.time.monotonic',
            lambda: self.now))
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    def begin(self):
        pull = contextlib.ExitStack()
        self.stack.enter_context(pull)
        return pull, pull.enter_context(self.watch.pull())

    def test_no_pull_begins_without_room(self):
        self.space.free_now = 9
        self.assertRaises(exception.NotEnoughDisk, self.begin)
        self.assertEqual([], self.watch._running)

    def test_others_go_on_if_it_helps_to_end_the_last_one(self):
        self.now = 100.0
        _, first = self.begin()
        pull, second = self.begin()
        for look in (first, second):
            look()
        self.space.free_now = 9
        first()
        error = self.assertRaises(exception.NotEnoughDisk, second)
        self.assertIn('Pulling an image', str(error))
        pull.close()
        first()  # containerd still removes what the other one had written
        self.space.free_now = 20
        self.now += 60
        first()

    def test_another_one_ends_if_it_does_not_help(self):
        self.now = 100.0
        _, first = self.begin()
        pull, second = self.begin()
        self.space.free_now = 9
        self.assertRaises(exception.NotEnoughDisk, second)
        pull.close()
        self.now += pull_watch._PAUSE
        self.assertRaises(exception.NotEnoughDisk, first)
