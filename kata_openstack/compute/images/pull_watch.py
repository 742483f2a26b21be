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

"""Ends pulls that take the space which the node keeps.

A small layer can become a large folder, so the free space is looked at also
while containerd unpacks images.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
import threading
import time

from kata_openstack.compute import space
from kata_openstack import exception

_PAUSE = 1.0  # seconds until containerd has removed what a pull had written


class PullWatch:
    """The pulls in progress. Thread-safe.

    Nobody knows how much space each pull takes. So the one that began last
    ends first, and another one only if that does not help.
    """

    def __init__(self, space_: space.Space) -> None:
        self._space = space_
        self._lock = threading.Lock()
        self._running: list[object] = []  # in the order of their beginning
        self._next = 0.0  # time of the next end, at the earliest

    @contextlib.contextmanager
    def pull(self, what: str = 'Pulling an image', size: int = 0
             ) -> Iterator[Callable[[], None]]:
        """Make room before a pull, and watch it.

        :param what: what takes the space, for the error
        :param size: bytes that the pull takes at least
        :returns: a function to call again and again during the pull. It
            raises NotEnoughDisk if the pull must end.
        :raises NotEnoughDisk: there is no room
        """
        self._space.check(what, size)
        this = object()
        with self._lock:
            self._running.append(this)
        try:
            try:
                yield functools.partial(self._look, this, what)
            finally:
                with self._lock:
                    self._running.remove(this)
        except exception.NotEnoughDisk:
            with contextlib.suppress(exception.KataError):
                self._space.make_room()  # so that the next attempt succeeds
            raise

    def _look(self, this: object, what: str) -> None:
        free = self._space.free()
        if free >= self._space.reserve:
            return
        with self._lock:
            now = time.monotonic()
            if self._running[-1] is not this or now < self._next:
                return
            self._next = now + _PAUSE
        raise self._space.error(what, 0, free)
