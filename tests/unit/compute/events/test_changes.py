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
import time
from unittest import mock

from kata_openstack.compute.events import changes
from tests.unit import base


class ChangesTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.subject = changes.Changes()

    def ask(self, known=None, timeout=0.0):
        known = known or {'epoch': '', 'since': 0}
        return self.subject.wait(known['epoch'], known['since'], timeout)

    def test_each_change_is_told_once(self):
        known = self.ask()
        self.assertIsNone(known['pods'])
        for names in (['a'], ['b', 'a'], []):
            for name in names:
                self.subject.note(name)
            known = self.ask(known)
            self.assertEqual(names, known['pods'])

    def test_two_callers(self):
        one = two = self.ask()
        self.subject.note('a')
        self.assertEqual(['a'], self.ask(one)['pods'])
        self.subject.note('a')
        self.assertEqual(['a'], self.ask(two)['pods'])

    def test_a_caller_waits(self):
        known = self.ask()
        for wake in (lambda: self.subject.note('a'), self.subject.close):
            threading.Timer(0.05, wake).start()
            begun = time.monotonic()
            found = self.ask(known, timeout=30)
            self.assertLess(time.monotonic() - begun, 20)
            known = found
        self.assertEqual([], found['pods'])
        begun = time.monotonic()
        self.ask(known, timeout=30)  # closed
        self.assertLess(time.monotonic() - begun, 20)

    def test_after_a_restart_of_the_service(self):
        self.subject.note('a')
        known = self.ask()
        self.subject = changes.Changes()
        self.assertIsNone(self.ask(known, timeout=30)['pods'])

    def test_what_was_forgotten_is_not_hidden(self):
        with mock.patch.object(changes, '_MOST', 2):
            known = self.ask()
            for name in 'abc':
                self.subject.note(name)
            self.assertIsNone(self.ask(known)['pods'])
            known = self.ask({**known, 'since': 1})
            self.assertEqual(['b', 'c'], known['pods'])
