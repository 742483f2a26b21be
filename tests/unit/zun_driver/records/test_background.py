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

from zun.common import utils as zun_utils

from kata_openstack.zun_driver.records import background
from tests.unit import base

SECONDS = 30  # far longer than needed: a failure must not look like a hang


class TestBackground(base.TestCase):
    """With threads, as green threads are to the caller."""

    def setUp(self) -> None:
        super().setUp()
        self.threads = []
        self.addCleanup(self.join)
        self.patch(zun_utils, 'spawn_n', self.spawn)

    def spawn(self, function, *args):
        thread = threading.Thread(target=function, args=args)
        self.threads.append(thread)
        thread.start()

    def join(self):
        for thread in self.threads:
            thread.join(SECONDS)
            self.assertFalse(thread.is_alive())
        self.threads.clear()

    def test_the_caller_does_not_wait(self) -> None:
        go = threading.Event()
        done = []
        self.assertTrue(background.start('a', lambda: (
            done.append(go.wait(SECONDS)))))
        self.assertEqual([], done)
        go.set()
        self.join()
        self.assertEqual([True], done)

    def test_one_of_each_object_and_ten_in_all(self) -> None:
        go = threading.Event()
        self.addCleanup(go.set)
        begun = [uuid for uuid in 'aabcdefghijklm'
                 if background.start(uuid, lambda: go.wait(SECONDS))]
        self.assertEqual(list('abcdefghij'), begun)
        go.set()
        self.join()
        self.assertTrue(background.start('a', lambda: None))

    def test_an_error_costs_only_this_task(self) -> None:
        def fail():
            raise ValueError('surprise')
        with self.assertLogs(background.LOG.name, 'WARNING') as logs:
            background.start('a', fail)
            self.join()
        self.assertIn('surprise', logs.output[0])
        self.assertTrue(background.start('a', lambda: None))

    def test_it_waits_for_an_operation_of_zun(self) -> None:
        done = []

        @zun_utils.synchronized('a')
        def operation():
            background.start('a', lambda: done.append('task'))
            self.threads[0].join(0.1)
            done.append('operation')

        operation()
        self.join()
        self.assertEqual(['operation', 'task'], done)
