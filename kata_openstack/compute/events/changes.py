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

"""Which pods have changed by themselves, for those who wait for it."""

import collections
import threading
import time
from typing import Any
import uuid

_MOST = 4096  # pods that are remembered


class Changes:
    """Numbers the changes since the start of the service. Thread-safe.

    A caller gives the number of the last change that it knows, and the epoch
    that the number belongs to. After a restart of the service, or if too many
    changes have passed, it learns that it has to compare all pods.
    """

    def __init__(self) -> None:
        self._epoch = uuid.uuid4().hex
        self._number = 0
        self._forgotten = 0  # the number of the last one that was dropped
        self._changed: collections.OrderedDict[str, int] = (
            collections.OrderedDict())
        self._condition = threading.Condition()
        self._closed = False

    def note(self, pod_uuid: str) -> None:
        with self._condition:
            self._number += 1
            self._changed[pod_uuid] = self._number
            self._changed.move_to_end(pod_uuid)
            if len(self._changed) > _MOST:
                _, self._forgotten = self._changed.popitem(last=False)
            self._condition.notify_all()

    def wait(self, epoch: str, since: int, timeout: float) -> dict[str, Any]:
        """Wait until a pod has changed, for ``timeout`` seconds at most.

        :param epoch: '' for a caller who knows nothing; does not wait.
        :returns: ``epoch`` and ``since`` for the next call; ``pods``: UUIDs of
            the changed pods, None if any may have changed.
        """
        deadline = time.monotonic() + timeout
        with self._condition:
            while (epoch == self._epoch and since >= self._number
                   and not self._closed
                   and (left := deadline - time.monotonic()) > 0):
                self._condition.wait(left)
            known = epoch == self._epoch and since >= self._forgotten
            return {'epoch': self._epoch, 'since': self._number,
                    'pods': [pod for pod, number in self._changed.items()
                             if number > since] if known else None}

    def close(self) -> None:
        """Let all callers go on."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
