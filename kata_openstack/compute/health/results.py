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

import threading


class Results:
    """The state of each checked container. Thread-safe.

    It begins anew when kata-compute restarts, as in Docker when a container
    does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, int | None] = {}  # None: no result yet
        self._retries: dict[str, int] = {}

    def begin(self, container_id: str, retries: int) -> None:
        """:param retries: failures in a row that make it unhealthy"""
        with self._lock:
            self._failures[container_id] = None
            self._retries[container_id] = retries

    def add(self, container_id: str, healthy: bool) -> bool:
        """Add a result.

        :returns: whether the words for it are others now
        """
        with self._lock:
            if container_id not in self._retries:
                return False  # it has ended meanwhile
            before = self._words(container_id)
            streak = self._failures[container_id]
            if healthy:
                self._failures[container_id] = 0
            elif streak is None:
                # as in Docker, it stays in starting until all retries failed
                self._failures[container_id] = -1
            else:
                self._failures[container_id] = (
                    streak - 1 if streak < 0 else streak + 1)
            return self._words(container_id) != before

    def forget(self, container_id: str) -> None:
        with self._lock:
            self._failures.pop(container_id, None)
            self._retries.pop(container_id, None)

    def words(self, container_id: str) -> str:
        """Return the state of a container, '' for one without a check."""
        with self._lock:
            return self._words(container_id)

    def _words(self, container_id: str) -> str:
        if container_id not in self._retries:
            return ''
        streak = self._failures[container_id]
        failures = abs(streak or 0)
        if failures >= self._retries[container_id]:
            return f'unhealthy, {failures} failed'
        if streak is None or streak < 0:
            return 'health: starting'
        return 'healthy' if not failures else f'healthy, {failures} failed'
