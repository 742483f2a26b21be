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

from tests.unit import base

from kata_openstack.compute.console import sessions


def session(kind=sessions.EXEC, container='c', project='p'):
    return sessions.Session(kind, project, container, 'id', True, True)


class SessionsTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.subject = sessions.Sessions(60, 40)

    def later(self, seconds):
        now = time.monotonic()
        return mock.patch.object(time, 'monotonic', lambda: now + seconds)

    def test_a_secret(self):
        secret = self.subject.add(session())
        self.assertRegex(secret, '^[0-9a-f]{64}$')
        self.assertNotEqual(secret, self.subject.add(session()))
        self.assertNotIn(secret, repr(vars(self.subject)))

    def test_an_exec_opens_once(self):
        wanted = session()
        secret = self.subject.add(wanted)
        self.assertIs(wanted, self.subject.open(secret, sessions.EXEC))
        self.assertIsNone(self.subject.open(secret, sessions.EXEC))
        self.assertIs(wanted, self.subject.find(secret))
        self.subject.leave(secret)
        self.assertIsNone(self.subject.open(secret, sessions.EXEC))
        self.assertIsNone(self.subject.find(secret))

    def test_an_attach_opens_again(self):
        wanted = session(sessions.ATTACH)
        secret = self.subject.add(wanted)
        for _ in range(2):
            self.assertIs(wanted, self.subject.open(secret, sessions.ATTACH))
        self.assertEqual(2, wanted.users)
        for _ in range(2):
            self.subject.leave(secret)
        self.assertIs(wanted, self.subject.open(secret, sessions.ATTACH))

    def test_only_for_its_kind(self):
        secret = self.subject.add(session(sessions.ATTACH))
        self.assertIsNone(self.subject.open(secret, sessions.EXEC))
        for wrong in ('', 'x', '0' * 64, secret[:-1], secret + '0'):
            self.assertIsNone(self.subject.open(wrong, sessions.ATTACH))

    def test_unused_ones_expire(self):
        secret = self.subject.add(session())
        attach = self.subject.add(session(sessions.ATTACH))
        with self.later(59):
            self.assertIsNotNone(self.subject.open(attach, sessions.ATTACH))
        with self.later(61):
            self.assertIsNone(self.subject.open(secret, sessions.EXEC))
            # in use
            self.assertIsNotNone(self.subject.open(attach, sessions.ATTACH))
            self.subject.leave(attach)
            self.subject.leave(attach)
        with self.later(120):
            self.assertIsNotNone(self.subject.open(attach, sessions.ATTACH))
            self.subject.leave(attach)
        with self.later(181):
            self.assertIsNone(self.subject.open(attach, sessions.ATTACH))
            self.subject.add(session())
            self.assertEqual(1, len(self.subject._pending))

    def test_pending_of_a_container(self):
        other = self.subject.add(session(container='other'))
        made = [self.subject.add(session()) for _ in range(17)]
        self.assertIsNone(self.subject.find(made[0]))
        for secret in (*made[1:], other):
            self.assertIsNotNone(self.subject.find(secret))

    def test_pending_of_the_node(self):
        made = [self.subject.add(session(container=str(i)))
                for i in range(1025)]
        self.assertEqual([None], [
            found for found in map(self.subject.find, made) if not found])
        self.assertIsNone(self.subject.find(made[0]))

    def open_all(self, count, project, containers):
        for i in range(count):
            self.subject.open(self.subject.add(session(
                container=f'{project}{i % containers}', project=project)),
                sessions.EXEC)

    def test_in_use(self):
        self.open_all(20, 'a', 4)
        error = self.assertRaises(sessions.Full, self.open_all, 1, 'a', 1)
        self.assertIn('Your project has', str(error))
        self.open_all(20, 'b', 4)
        error = self.assertRaises(sessions.Full, self.open_all, 1, 'c', 1)
        self.assertIn('The node has', str(error))

    def test_in_use_of_a_container(self):
        self.subject = sessions.Sessions(60, 1000)
        self.open_all(32, 'a', 1)
        error = self.assertRaises(sessions.Full, self.open_all, 1, 'a', 1)
        self.assertIn('The container has', str(error))
        secret = self.subject.add(session(container='other'))
        self.assertIsNotNone(self.subject.open(secret, sessions.EXEC))
