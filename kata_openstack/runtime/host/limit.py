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

"""Runs checks that may hang: a file of /sys waits for its driver, one of a
network file system for its server.
"""

from collections.abc import Callable
from collections.abc import Mapping
import threading
from typing import Any

Check = Callable[[], Any]


class _Worker(threading.Thread):
    """One check after the other, until it is told that nobody waits."""

    def __init__(self, checks: list[tuple[str, Check]]) -> None:
        # a thread that hangs in the kernel must not keep the process
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
    """Their answers by name, without those that hang.

    They run one after the other. One that takes longer than ``seconds``
    (twice as long at most) is left behind with its thread. What a check
    raises is raised here.
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
    """:returns: how many have ended; the next one, if there is one, hangs"""
    while True:
        ended = len(worker.answers)
        worker.join(seconds)
        if worker.error:
            raise worker.error
        if not worker.is_alive():
            return len(worker.answers)
        if len(worker.answers) == ended:
            worker.abandoned = True
            return ended
