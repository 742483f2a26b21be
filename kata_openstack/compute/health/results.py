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

"""What the health checks of this node found, in memory."""

import dataclasses
import threading


@dataclasses.dataclass
class _Result:
    """The last results of a container. ``starting``: no success yet."""

    retries: int
    failures: int = 0  # in a row
    starting: bool = True

    def add(self, healthy: bool) -> None:
        if healthy:
            self.failures, self.starting = 0, False
        else:
            self.failures += 1

    def words(self) -> str:
        # as in Docker, it stays in starting until all retries failed
        if self.failures >= self.retries:
            return f'unhealthy, {self.failures} failed'
        if self.starting:
            return 'health: starting'
        if self.failures:
            return f'healthy, {self.failures} failed'
        return 'healthy'


class Results:
    """The state of each checked container. Thread-safe.

    It begins anew when kata-compute restarts, as in Docker when a container
    does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: dict[str, _Result] = {}

    def begin(self, container_id: str, retries: int) -> None:
        """:param retries: failures in a row that make it unhealthy"""
        with self._lock:
            self._results[container_id] = _Result(retries)

    def add(self, container_id: str, healthy: bool) -> bool:
        """Add a result.

        :returns: whether the words for it are others now
        """
        with self._lock:
            result = self._results.get(container_id)
            if not result:
                return False  # it has ended meanwhile
            before = result.words()
            result.add(healthy)
            return result.words() != before

    def forget(self, container_id: str) -> None:
        with self._lock:
            self._results.pop(container_id, None)

    def words(self, container_id: str) -> str:
        """Return the state of a container, '' for one without a check."""
        with self._lock:
            result = self._results.get(container_id)
            return result.words() if result else ''
