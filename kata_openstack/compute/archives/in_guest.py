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

"""Copies from and to a running container, by its guest.

Only the guest may change its files: it would not see what the host changes.
"""

import binascii
import contextlib
import time
from typing import Any

from oslo_config import cfg

from kata_openstack.compute.archives import interrupts
from kata_openstack.compute.archives import spool
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.runtime.archives import work
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded import guest_client
from kata_openstack.runtime.embedded.shim.control import transfers

_CALL_SECONDS = 60  # the runtime waits for the guest for less
_STALL_SECONDS = 90.0  # without a byte


class Copy:
    """One copy.

    :param seconds: until it must have ended.
    """

    def __init__(self, conf: cfg.ConfigOpts, container: pb.Container,
                 seconds: float, interrupts_: interrupts.Interrupts) -> None:
        self._conf = conf
        self._container = container
        self._interrupts = interrupts_
        self._deadline = time.monotonic() + seconds
        self._moved = time.monotonic()

    def run(self, order: work.Order, archive: spool.Spool,
            spools: spool.Spools) -> Any:
        """Pack into a spool, or unpack it.

        :returns: the outcome, as the guest tells it.
        :raises Unsupported: the runtime cannot do this.
        :raises Conflict: the container does not run any more, or this
            service is about to stop.
        :raises RuntimeFailed, NodeBusy, NotEnoughDisk:
        """
        try:
            opened = self._call('OpenArchive', container=self._container.id,
                                order=order._asdict())
        except guest_client.NoGuestService as e:
            raise exception.Unsupported(
                operation='cp with a running container of this runtime',
                remedy='Stop the container first: openstack appcontainer '
                       'stop. A container of kata-embedded that an older '
                       'release started must be restarted once.') from e
        number = opened['transfer']
        try:
            if order.put:
                self._give(number, archive)
            return self._take(number, order, archive, spools)
        finally:
            with contextlib.suppress(exception.KataError,
                                     guest_client.NoGuestService):
                self._call('CloseArchive', transfer=number)

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return guest_client.call(self._conf, self._container.pod_sandbox_id,
                                 method, _CALL_SECONDS, **arguments)

    def _check(self, moved: int) -> None:
        self._interrupts.check(self._container.labels[labels.CONTAINER])
        now = time.monotonic()
        if moved:
            self._moved = now
        if now > min(self._deadline, self._moved + _STALL_SECONDS):
            raise exception.RuntimeFailed(
                operation='Copying files',
                why='the container does not take or give them in time')

    def _give(self, number: int, archive: spool.Spool) -> None:
        """Send an archive, or so much of it as the guest wants."""
        offset, size = 0, archive.size()
        while True:
            data = archive.read(offset, transfers.PART)
            answer = self._call(
                'WriteArchive', transfer=number,
                data=binascii.b2a_base64(data, newline=False).decode(),
                last=offset + len(data) >= size)
            offset += answer['taken']
            if answer['ended'] or (answer['taken'] == len(data)
                                   and offset >= size):
                return
            self._check(answer['taken'])

    def _take(self, number: int, order: work.Order, archive: spool.Spool,
              spools: spool.Spools) -> Any:
        """Receive an archive, if any, and the outcome."""
        while True:
            answer = self._call('ReadArchive', transfer=number)
            data = binascii.a2b_base64(answer['data'])
            if data:
                if archive.size() + len(data) > order.limit or order.put:
                    raise exception.RuntimeFailed(
                        operation='Copying files',
                        why='the container gives more than was asked for')
                spools.check_room(len(data))
                archive.append(data)
            if answer['end']:
                return answer['outcome']
            self._check(len(data))
