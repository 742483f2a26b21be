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

"""Limits that keep one kind of request, or one project, from blocking others.

Each request has a thread. A request that pulls an image, starts or stops a
VM, or asks a guest can take minutes. So each of these kinds has a lane that
holds a limited number of threads. The threads left over serve the short
requests, which read from containerd and from files only.

In a lane, requests may also wait for a slot: pulls and starts of VMs use the
node's network, disk and CPUs, and too many at once only delay each other.
"""

import collections
from collections.abc import Iterator
import contextlib
import threading
from typing import Any

from kata_openstack import exception

# Requests in progress, in each lane. Further ones are refused.
_PLACES = 128
# Of these, for each project: so many that a burst of creates passes, and so
# few that one project does not fill a lane
_PER_PROJECT = 64
# For calls into guests: of each project and of each container
_GUEST_PER_PROJECT = 32
_GUEST_PER_CONTAINER = 16
# Threads of the RPC server: four lanes, and the short requests
THREADS = 5 * _PLACES


class Lane:
    """The requests of one kind that are in progress. Thread-safe."""

    def __init__(self, kind: str, limit: int = _PLACES,
                 per_project: int | None = None) -> None:
        """:param kind: for the error, for example 'image pulls'
        :param per_project: places that one project may hold; None for all.
            Requests of no project are the node's own.
        """
        self._kind = kind
        self._limit = limit
        self._per_project = limit if per_project is None else per_project
        self._lock = threading.Lock()
        self._count = 0
        self._projects: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def enter(self, project: str | None = None, container: str | None = None
              ) -> Iterator[None]:
        """Hold one place.

        :raises NodeBusy: all places are taken, or the project's part is.
        """
        with self._lock:
            self._admit(project, container)
        try:
            yield
        finally:
            with self._lock:
                self._leave(project, container)

    def _admit(self, project: str | None, container: str | None) -> None:
        self._check(self._count, self._limit, 'the node')
        if project is not None:
            self._check(self._projects[project], self._per_project,
                        'your project')
            self._projects[project] += 1
        self._count += 1

    def _check(self, count: int, limit: int, whose: str) -> None:
        if count >= limit:
            raise exception.NodeBusy(kind=self._kind, whose=whose,
                                     limit=limit)

    def _leave(self, project: str | None, container: str | None) -> None:
        self._count -= 1
        if project is not None:
            _subtract(self._projects, project)


class GuestLane(Lane):
    """Calls into guests: each container has a part of the lane, too.

    A guest can delay its answer, so its tenant decides how long these take.
    """

    def __init__(self) -> None:
        super().__init__('calls into containers',
                         per_project=_GUEST_PER_PROJECT)
        self._containers: collections.Counter[str] = collections.Counter()

    def _admit(self, project: str | None, container: str | None) -> None:
        if container is not None:
            self._check(self._containers[container], _GUEST_PER_CONTAINER,
                        f'container {container}')
        super()._admit(project, container)
        if container is not None:
            self._containers[container] += 1

    def _leave(self, project: str | None, container: str | None) -> None:
        super()._leave(project, container)
        if container is not None:
            _subtract(self._containers, container)


def _subtract(counter: collections.Counter[Any], key: Any) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def all_lanes() -> dict[str, Lane]:
    """Return the lanes of a node by their names; '' is for short requests."""
    return {'': Lane('short requests'),
            'pull': Lane('image pulls', per_project=_PER_PROJECT),
            'start': Lane('creates and starts', per_project=_PER_PROJECT),
            'stop': Lane('stops and deletes', per_project=_PER_PROJECT),
            'guest': GuestLane()}


class Slots:
    """Threads that may work at the same time; others wait. Thread-safe.

    One project holds at most half of the slots, so that its slow registry
    does not stop the pulls of all others.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._share = max(1, count // 2)
        self._changed = threading.Condition()
        self._held: collections.Counter[str | None] = collections.Counter()

    @contextlib.contextmanager
    def take(self, project: str | None) -> Iterator[None]:
        """Wait for a slot, and hold it."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._held.total() < self._count
                and self._held[project] < self._share)
            self._held[project] += 1
        try:
            yield
        finally:
            with self._changed:
                self._held[project] -= 1
                if not self._held[project]:
                    del self._held[project]
                self._changed.notify_all()
