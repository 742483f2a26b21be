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
"""The guest forgets files before virtiofsd reaches its limit.

A process with open files stands in for virtiofsd. It obeys one letter at a
time: o opens a file, c closes the newest one, w works for a while.
"""

import asyncio
import os
import resource
import subprocess
import sys
import time
import unittest

from kata_openstack.runtime.embedded.virtiofs import file_limit
from kata_openstack.runtime.embedded.virtiofs import open_files
from tests.unit import base

_LIMIT = 160
_PROCESS = f'''
import os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, ({_LIMIT}, {_LIMIT}))
found = []
while letter := os.read(0, 1):
    if letter == b'o':
        found.append(os.open('/', os.O_PATH))
    elif letter == b'c':
        os.close(found.pop())
    else:
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
    os.write(1, b'.')
'''


class Process:
    def __init__(self, case):
        self._process = subprocess.Popen(
            [sys.executable, '-ISc', _PROCESS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid
        self.tell('w')  # it has set its limit
        case.addCleanup(self._end)

    def _end(self):
        self._process.kill()
        self._process.communicate()

    def tell(self, letters):
        self._process.stdin.write(letters.encode())
        self._process.stdin.flush()
        self._process.stdout.read(len(letters))

    @property
    def open(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def open_until(self, count):
        self.tell('o' * (count - self.open))

    def close_until(self, count):
        self.tell('c' * max(0, self.open - count))


class TestWatch(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.process = Process(self)
        self.asked = []  # the number of open files, for each request
        self.used = 4  # the files that the guest cannot forget

    async def forget(self):
        self.asked.append(self.process.open)
        self.process.close_until(self.used)

    async def asyncSetUp(self):
        self.watch = open_files.Watch(self.forget)
        self.watch.add(self.process.pid)
        self.looks = 0
        look = self.watch._look

        async def counted():
            full = await look()
            self.looks += 1
            return full
        self.watch._look = counted
        task = asyncio.create_task(self.watch.run())
        await asyncio.sleep(0)  # it runs
        self.addAsyncCleanup(self.end, task)

    async def end(self, task):
        task.cancel()
        await asyncio.wait([task])

    async def work(self):
        """virtiofsd works until it was looked at."""
        before = self.looks
        async with asyncio.timeout(30):
            while self.looks == before:
                self.process.tell('w')
                await asyncio.sleep(0)

    async def test_nothing_is_asked_below_half_of_the_limit(self):
        self.process.open_until(80)
        await self.work()
        self.assertEqual([], self.asked)

    async def test_files_are_forgotten_in_time(self):
        for _ in range(3):
            self.process.open_until(90)
            await self.work()
            await self.work()  # it sees that they are forgotten
        self.assertEqual([90, 90, 90], self.asked)

    async def test_files_in_use_do_not_cause_endless_requests(self):
        self.used = 90
        self.process.open_until(100)
        for _ in range(3):
            await self.work()
        self.assertEqual([100], self.asked)
        self.process.open_until(130)  # half of the rest is used too
        for _ in range(3):
            await self.work()
        self.assertEqual([100, 130], self.asked)

    async def test_files_that_were_in_use_are_forgotten(self):
        self.used = 90
        self.process.open_until(100)
        await self.work()
        self.process.close_until(4)
        await self.work()
        self.process.open_until(100)
        await self.work()
        self.assertEqual([100, 100], self.asked)

    async def test_at_the_limit_requests_come_without_work(self):
        """They are rare, and go on until files are forgotten."""
        self.used = _LIMIT
        self.process.open_until(_LIMIT)
        begun = time.monotonic()
        await self.work()
        async with asyncio.timeout(30):
            while len(self.asked) < 3:
                await asyncio.sleep(0.01)
        self.assertGreaterEqual(time.monotonic() - begun,
                                2 * open_files._FULL_SECONDS)
        self.used = 4
        async with asyncio.timeout(30):
            while self.process.open > 4:
                await asyncio.sleep(0.01)

    async def test_two_share_the_limit(self):
        other = Process(self)
        self.watch.add(other.pid)
        for process in (self.process, other):
            self.assertEqual((_LIMIT // 2,) * 2, resource.prlimit(
                process.pid, resource.RLIMIT_NOFILE))
        other.open_until(50)  # it is watched as well
        async with asyncio.timeout(30):
            while not self.asked:
                other.tell('w')
                await asyncio.sleep(0)
        other.close_until(4)
        await self.work()
        self.asked.clear()
        self.process.open_until(50)
        await self.work()
        self.assertEqual([50], self.asked)

    async def test_more_files_than_the_part_are_forgotten_at_once(self):
        self.process.open_until(78)
        self.watch.add(Process(self).pid)
        async with asyncio.timeout(30):
            while not self.asked:
                await asyncio.sleep(0.01)
        self.assertEqual([78], self.asked)

    async def test_an_idle_process_is_not_looked_at(self):
        await self.work()
        before = self.looks
        await asyncio.sleep(0.3)
        self.assertLessEqual(self.looks - before, 1)


class TestServer(base.TestCase):
    def test_the_child_serves(self):
        with subprocess.Popen(
                ['sh', '-c', 'sleep 1000 & echo $!; wait'],
                stdout=subprocess.PIPE) as first:
            child = int(first.stdout.readline())
            self.assertEqual(child, open_files._server(first.pid))
            self.assertEqual(child, open_files._server(child))
            os.kill(child, 9)


class TestLimit(base.TestCase):
    def limits(self, before):
        code = ('import resource\n'
                'from kata_openstack.runtime.embedded.virtiofs import '
                'file_limit\n'
                f'resource.setrlimit(resource.RLIMIT_NOFILE, {before})\n'
                'file_limit.raise_limit()\n'
                'print(*resource.getrlimit(resource.RLIMIT_NOFILE))')
        done = subprocess.run([sys.executable, '-c', code], check=True,
                              capture_output=True, text=True)
        return tuple(map(int, done.stdout.split()))

    def test_the_soft_limit_becomes_the_hard_one(self):
        hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1],
                   file_limit.LIMIT)
        soft, after = self.limits((100, hard))
        self.assertEqual(soft, after)
        self.assertIn(after, (hard, file_limit.LIMIT))  # as root: the latter
