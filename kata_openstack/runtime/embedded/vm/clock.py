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

"""Keeps the clock of a guest with the clock of its node.

The counter that drives the guest's clock has an error of its own, large under
emulation, and follows no correction of the node's clock. So the shim compares
both clocks, often at first and once a minute later, and tells the guest how
much faster or slower its clock must run. The clock never goes back: it is set
only if it is behind, and otherwise runs slower until it is right.
"""

import asyncio
from collections.abc import Callable
import math
import time

from kata_openstack.runtime.embedded.vm import agent_channel

_PPM = 1e6
_FIRST, _LONGEST = 1.0, 64.0  # seconds from one comparison to the next
_BEHIND = 0.02  # seconds; if it is more, the clock is set
_WRONG = 0.01  # seconds; if it is more, the next comparison comes sooner
# Shorter ones tell nothing about the speed: a measurement errs by some ms.
_LONG_ENOUGH = 8.0
_MAX_SPEED = 20_000  # ppm; far more than a counter errs
_MAX_RATE = 90_000  # ppm; the kernel allows 10 %
_SAMPLES = 3


class Discipline:
    """Decides on corrections. ``interval``: seconds to the next one."""

    def __init__(self) -> None:
        self.interval = _FIRST
        self._speed = 0.0  # ppm that the counter is slow

    def correct(self, behind: float) -> tuple[float, int]:
        """Return by how much to set the clock forward, and its rate.

        :param behind: seconds that the guest's clock is behind, after one
            interval in which it should have become right.
        :returns: seconds, and ppm that the clock must run faster.
        """
        past = self.interval
        if past >= _LONG_ENOUGH:
            self._speed = _limited(self._speed + behind / past * _PPM / 2,
                                   _MAX_SPEED)
        if abs(behind) > _WRONG:
            self.interval = max(_FIRST, past / 2)
        else:
            self.interval = min(_LONGEST, past * 2)
        forward = behind if behind > _BEHIND else 0.0
        rate = self._speed + (behind - forward) / self.interval * _PPM
        return forward, round(_limited(rate, _MAX_RATE))


def _limited(value: float, most: float) -> float:
    return max(-most, min(most, value))


async def follow(agent: agent_channel.Channel,
                 log: Callable[[str], None]) -> None:
    """Correct the guest's clock until the VM ends.

    :param log: called when the clock was set.
    """
    discipline = Discipline()
    while True:
        await asyncio.sleep(discipline.interval)
        try:
            behind = await _measure(agent)
            if behind is None:
                continue
            forward, rate = discipline.correct(behind)
            await agent.call('set_clock', forward=forward, rate=rate)
        except agent_channel.AgentGone as e:
            log(f'the clock of the guest was not corrected: {e}')
            await asyncio.sleep(_LONGEST)  # it may only be busy
        except agent_channel.AgentError as e:
            log(f'the clock of the guest is not corrected any more: {e}')
            return
        else:
            if forward:
                log(f'the clock of the guest was {forward:.3f} s behind')


async def _measure(agent: agent_channel.Channel) -> float | None:
    """Return how many seconds the guest is behind; None if it is unclear.

    The answer with the shortest way counts. It may have been read at any
    moment between request and answer, so only what exceeds half of the way
    is sure.
    """
    best = (math.inf, 0.0)
    for _ in range(_SAMPLES):
        sent = time.time()
        begun = time.monotonic()
        answer = await agent.call('clock')
        way = time.monotonic() - begun
        now = answer.get('now')
        if not isinstance(now, float) or not math.isfinite(now):
            return None
        best = min(best, (way, sent + way / 2 - now))
    way, behind = best
    if way > _WRONG:
        behind = math.copysign(max(0.0, abs(behind) - way / 2), behind)
    return behind
