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

"""Runs checks with a time limit.

A check can hang: reading a file in /sys waits for its driver, and a file on
a network file system waits for its server. A check that waits so uses no CPU
time; on a busy host, a check that is only slow still uses some.
"""

from collections.abc import Callable
from collections.abc import Mapping
import threading
import time
from typing import Any

# Intervals that a check may take although it does not hang
_PATIENCE = 12

Check = Callable[[], Any]


class _Worker(threading.Thread):
    """Runs the checks one after the other, until it is abandoned."""

    def __init__(self, checks: list[tuple[str, Check]]) -> None:
        # daemon: a thread that hangs in the kernel must not keep the
        # process from exiting
        super().__init__(name='checks', daemon=True)
        self._checks = checks
        self.answers: list[tuple[str, Any]] = []
        self.error: BaseException | None = None
        self.abandoned = False

    def run(self) -> None:
        try:
            for name, check in self._checks:
                self.answers.append((name, check()))
                if self.abandoned:
                    return
        except BaseException as e:
            self.error = e


def run(checks: Mapping[str, Check], seconds: float) -> dict[str, Any]:
    """Run the checks one after the other; return their answers by name.

    A check hangs if it uses no CPU time for ``seconds``, or takes twelve
    times as long. It is abandoned together with its thread, and has no
    answer. An exception of a check is raised here.
    """
    left = list(checks.items())
    answers: dict[str, Any] = {}
    while left:
        worker = _Worker(left)
        worker.start()
        ended = _wait(worker, seconds)
        answers.update(worker.answers[:ended])
        left = left[ended + 1:]
    return answers


def _wait(worker: _Worker, seconds: float) -> int:
    """:returns: how many checks ended; if there is a next one, it hangs"""
    ended = intervals = 0
    used = 0.0
    while True:
        worker.join(seconds)
        if worker.error:
            raise worker.error
        if not worker.is_alive():
            return len(worker.answers)
        intervals += 1
        if len(worker.answers) > ended:
            intervals = 0
        elif _cpu_seconds(worker) == used or intervals > _PATIENCE:
            worker.abandoned = True
            return ended
        ended, used = len(worker.answers), _cpu_seconds(worker)


def _cpu_seconds(worker: _Worker) -> float:
    """:returns: the CPU time that the thread has used; 0 if it has ended"""
    try:
        clock = time.pthread_getcpuclockid(worker.ident or 0)
        return time.clock_gettime(clock)
    except OSError:
        return 0.0
