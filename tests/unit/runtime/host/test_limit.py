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

from kata_openstack.runtime.host import limit
from tests.unit import base


class LimitTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.never = threading.Event()
        self.addCleanup(self.never.set)  # lets the threads end

    def test_all_in_order(self):
        ran = []
        answers = limit.run({name: lambda n=name: ran.append(n) or n
                             for name in 'abc'}, 5)
        self.assertEqual(['a', 'b', 'c'], ran)
        self.assertEqual({'a': 'a', 'b': 'b', 'c': 'c'}, answers)

    def test_one_that_hangs_costs_only_itself(self):
        for names in ('axb', 'xaxbx'):
            checks = {f'{name}{n}': self.never.wait if name == 'x'
                      else lambda n=name: n for n, name in enumerate(names)}
            self.assertEqual({'a', 'b'}, set(limit.run(
                checks, 0.5).values()))

    def test_slow_ones_are_waited_for_each(self):
        pause = threading.Event()
        checks = {n: lambda: pause.wait(0.2) for n in range(4)}
        self.assertEqual(4, len(limit.run(checks, 0.5)))

    def test_a_slow_one_that_works_does_not_hang(self):
        """As on a busy host, where even a short check takes long."""
        def work():
            end = time.thread_time() + 0.6
            while time.thread_time() < end:
                pass
            return 'done'
        self.assertEqual({'a': 'done'}, limit.run({'a': work}, 0.5))

    def test_one_that_never_ends_although_it_works(self):
        def work():
            while not self.never.wait(0.001):
                pass
        self.assertEqual({'b': 1}, limit.run({'a': work, 'b': lambda: 1},
                                             0.1))

    def test_none(self):
        self.assertEqual({}, limit.run({}, 5))

    def test_an_error_is_raised_here(self):
        self.assertRaises(ZeroDivisionError, limit.run,
                          {'a': lambda: 1 / 0}, 5)

    def test_nobody_waits_for_what_was_left_behind(self):
        later = []
        limit.run({'x': self.never.wait, 'a': lambda: later.append(1)}, 0.5)
        self.never.set()
        for thread in threading.enumerate():
            if thread.name == 'checks':
                thread.join(5)
        self.assertEqual([1], later)
