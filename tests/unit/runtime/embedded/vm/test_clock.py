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

"""The correction of a guest's clock, with guests that err."""

import asyncio
import random
import time
import unittest
from unittest import mock

from kata_openstack.runtime.embedded.vm import agent_channel
from kata_openstack.runtime.embedded.vm import clock


def run(behind, slow, hour=3600.0, noise=0.003):
    """Return (second, seconds behind) at each comparison within an hour.

    :param behind: seconds that the clock is behind at the start
    :param slow: ppm that its counter is slow
    """
    chance = random.Random(1)
    discipline = clock.Discipline()
    now = rate = 0
    found = []
    while now < hour:
        past = discipline.interval
        now += past
        behind += past * (slow - rate) / 1e6
        found.append((now, behind))
        forward, rate = discipline.correct(
            behind + chance.uniform(-noise, noise))
        assert forward >= 0
        assert abs(rate) < 100_000
        behind -= forward
        found.append((now, behind))
    return found


class TestDiscipline(unittest.TestCase):
    def test_an_hour(self):
        for slow in (0, 30, -30, 1000, -1000, 5000, -5000):
            for behind in (0, 0.1, -0.1, 0.4):
                with self.subTest(slow=slow, behind=behind):
                    late = [b for s, b in run(behind, slow) if s > 60]
                    self.assertLess(max(map(abs, late)), 0.05)

    def test_once_a_minute_if_it_is_right(self):
        self.assertLess(len(run(0, 100)) / 2, 70)

    def test_what_is_far_ahead_goes_slower(self):
        found = run(-5, 0)
        self.assertLess(abs(found[-1][1]), 0.05)
        self.assertLess(max(abs(b) for s, b in found if s > 120), 0.05)

    def test_what_is_behind_is_set_at_once(self):
        """As after a VM was stopped for a day."""
        discipline = clock.Discipline()
        self.assertEqual(86400, discipline.correct(86400)[0])
        self.assertEqual(0, discipline.correct(0.005)[0])


class Agent:
    """Answers as a guest whose clock is behind."""

    def __init__(self, behind=0.0, way=0.0):
        self.behind = behind
        self.way = way
        self.calls = []
        self.answer = lambda: {'now': time.time() - self.behind}

    async def call(self, method, **arguments):
        self.calls.append((method, arguments))
        if method == 'clock':
            await asyncio.sleep(self.way / 2)
            answer = self.answer()
            await asyncio.sleep(self.way / 2)
            return answer
        self.behind -= arguments['forward']
        return {}


class TestFollow(unittest.IsolatedAsyncioTestCase):
    async def follow(self, agent, count):
        """Follow until there were so many sleeps; return their seconds."""
        slept = []

        async def sleep(seconds, real=asyncio.sleep):
            if seconds < 0.5:
                await real(seconds)
                return
            slept.append(seconds)
            if len(slept) > count:
                raise asyncio.CancelledError
        self.logged = []
        with (mock.patch.object(asyncio, 'sleep', sleep),
              self.assertRaises(asyncio.CancelledError)):
            await clock.follow(agent, self.logged.append)
        return slept

    async def test_a_guest_that_is_behind(self):
        agent = Agent(behind=0.5)
        await self.follow(agent, 2)
        self.assertLess(abs(agent.behind), 0.01)
        self.assertEqual(1, len(self.logged))

    async def test_a_long_way_is_no_error(self):
        agent = Agent(behind=0.02, way=0.1)
        await self.follow(agent, 1)
        self.assertEqual(('set_clock', {'forward': 0.0, 'rate': 0}),
                         agent.calls[-1])
        agent = Agent(behind=0.5, way=0.1)
        await self.follow(agent, 1)
        self.assertLess(abs(agent.behind - 0.05), 0.02)

    async def test_nonsense_of_the_guest_changes_nothing(self):
        for now in (None, 'x', float('nan'), float('inf'), 5, [1]):
            agent = Agent()
            agent.answer = lambda now=now: {'now': now}
            await self.follow(agent, 2)
            self.assertNotIn('set_clock', dict(agent.calls))

    async def test_a_guest_that_does_not_answer_is_asked_later(self):
        agent = Agent()
        agent.answer = mock.Mock(
            side_effect=agent_channel.AgentGone('no answer'))
        self.assertEqual([1, 64, 1], await self.follow(agent, 2))

    async def test_an_agent_of_an_older_release(self):
        agent = Agent()
        agent.answer = mock.Mock(
            side_effect=agent_channel.AgentError('no attribute'))
        with mock.patch.object(clock, '_FIRST', 0):
            await clock.follow(agent, lambda text: None)
        self.assertEqual(1, len(agent.calls))
