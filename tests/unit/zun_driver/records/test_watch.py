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

from unittest import mock

from zun.common import utils as zun_utils

from kata_openstack import exception
from kata_openstack.zun_driver.records import watch
from tests.unit.zun_driver import base

FIRST = {'epoch': '', 'since': 0}


class TestWatch(base.DriverTestCase):

    def setUp(self):
        super().setUp()
        self.seen = []
        self.watch = watch.Watch(self.seen.append)
        self.later = []
        self._replace(zun_utils, 'spawn_n',
                      lambda *call: self.later.append(call))

    def run_later(self):
        while self.later:
            function, *arguments = self.later.pop(0)
            function(*arguments)

    def test_changed_pods(self):
        known = self.watch.step(FIRST)
        self.run_later()
        self.assertEqual([], self.seen)
        self.api.changed = ['a', 'b']
        known = self.watch.step(known)
        # while an operation has a, another change of it comes
        self.api.changed += ['a', 'c']
        self.watch.step(known)
        self.run_later()
        self.assertEqual(['a', 'b', 'c'], self.seen)
        self.api.changed += ['a']
        self.watch.step({'epoch': 'e', 'since': 4})
        self.run_later()
        self.assertEqual(['a', 'b', 'c', 'a'], self.seen)

    def test_an_update_that_fails_ends_nothing(self):
        self.api.changed = ['a']
        self.watch = watch.Watch(mock.Mock(side_effect=ValueError('odd')))
        known = self.watch.step(FIRST | {'epoch': 'e'})
        self.run_later()
        self.api.changed = ['a', 'a']
        self.watch.step(known)
        self.assertEqual(1, len(self.later))

    def test_a_node_that_does_not_answer(self):
        class End(Exception):
            pass
        for error, pause in (
                (exception.NodeUnavailable(host='h', why='down'), 5),
                # an old node logs each such call with a traceback
                (exception.VersionMismatch(
                    operation='o', host='h', older='a', newer='b', node='1.0',
                    driver='1.1'), 300)):
            self.api.calls.clear()
            self.api.fail['wait_for_changes'] = error
            with mock.patch.object(watch.time, 'sleep',
                                   side_effect=[None, None, End]) as sleep:
                self.assertRaises(End, self.watch._follow)
            self.assertEqual([mock.call(pause)] * 3, sleep.mock_calls)
            self.assertEqual(3, len(self.api.calls))
