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

from kata_openstack import exception

# Requests in progress, in each lane. Further ones are refused.
_PLACES = 128
# Of these, for calls into guests: of each project and of each container
_PER_PROJECT = 32
_PER_CONTAINER = 16
# Threads of the RPC server: four lanes, and the short requests
THREADS = 5 * _PLACES


class Lane:
    """The requests of one kind that are in progress. Thread-safe."""

    def __init__(self, kind: str, limit: int = _PLACES) -> None:
        """:param kind: for the error, for example 'image pulls'"""
        self._kind = kind
        self._limit = limit
        self._lock = threading.Lock()
        self._count = 0

    @contextlib.contextmanager
    def enter(self, project: str | None = None, container: str | None = None
              ) -> Iterator[None]:
        """Hold one place.

        :raises NodeBusy: all places are taken.
        """
        with self._lock:
            self._admit(project, container)
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                self._leave(project, container)

    def _admit(self, project: str | None, container: str | None) -> None:
        if self._count >= self._limit:
            raise exception.NodeBusy(kind=self._kind, whose='the node',
                                     limit=self._limit)

    def _leave(self, project: str | None, container: str | None) -> None:
        pass


class GuestLane(Lane):
    """Calls into guests: each project and container has a part of the lane.

    A guest can delay its answer, so its tenant decides how long these take.
    """

    def __init__(self) -> None:
        super().__init__('calls into containers')
        self._projects: collections.Counter[str | None] = (
            collections.Counter())
        self._containers: collections.Counter[str | None] = (
            collections.Counter())

    def _admit(self, project: str | None, container: str | None) -> None:
        super()._admit(project, container)
        for whose, count, limit in (
                (f'container {container}', self._containers[container],
                 _PER_CONTAINER),
                ('your project', self._projects[project], _PER_PROJECT)):
            if count >= limit:
                raise exception.NodeBusy(kind=self._kind, whose=whose,
                                         limit=limit)
        self._containers[container] += 1
        self._projects[project] += 1

    def _leave(self, project: str | None, container: str | None) -> None:
        for counter, key in ((self._containers, container),
                             (self._projects, project)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]


def all_lanes() -> dict[str, Lane]:
    """Return the lanes of a node by their names; '' is for short requests."""
    return {'': Lane('short requests'), 'pull': Lane('image pulls'),
            'start': Lane('creates and starts'),
            'stop': Lane('stops and deletes'), 'guest': GuestLane()}


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
