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

"""Ends copies of files that others wait for."""

import collections
from collections.abc import Iterator
import contextlib
import threading

from kata_openstack import exception


class Interrupts:
    """Who waits for copies. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited: collections.Counter[str] = collections.Counter()
        self._stopping = threading.Event()

    @contextlib.contextmanager
    def awaited(self, pod_uuid: str) -> Iterator[None]:
        """End copies that hold the pod, while the caller waits for it."""
        with self._lock:
            self._awaited[pod_uuid] += 1
        try:
            yield
        finally:
            with self._lock:
                self._awaited -= collections.Counter([pod_uuid])

    def stop(self) -> None:
        """End all copies, because kata-compute is about to stop."""
        self._stopping.set()

    def check(self, container_uuid: str, pod_uuid: str = '') -> None:
        """:param pod_uuid: the pod that a copy holds, if any.

        :raises Conflict: the copy must end.
        """
        if self._stopping.is_set():
            raise exception.Conflict(
                kind='The service of container', id=container_uuid,
                state='about to stop', remedy='Copy the files again.')
        with self._lock:
            awaited = self._awaited[pod_uuid] if pod_uuid else 0
        if awaited:
            raise exception.Conflict(
                kind='Container', id=container_uuid,
                state='about to be started or deleted',
                remedy='Copy the files again when it has started.')
