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

"""Publish task events to containerd in order, across its restarts."""

import asyncio
import collections
import time
from typing import Any

from kata_openstack.runtime.embedded.shim import log
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import protobuf
from kata_openstack.runtime.embedded.shim.wire import ttrpc

_MAX_QUEUED = 2048
_RETRY_SECONDS = 0.5


class Publisher:
    """Queues events and sends them to containerd.

    :param address: containerd's ttrpc socket: the value of the environment
        variable TTRPC_ADDRESS
    """

    def __init__(self, address: str, namespace: str) -> None:
        self._client = ttrpc.Client(address.removeprefix('unix://'))
        self._namespace = namespace
        # a full queue drops its oldest events
        self._queue: collections.deque[tuple[str, bytes]] = (
            collections.deque(maxlen=_MAX_QUEUED))
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._task = asyncio.create_task(self._run())

    def publish(self, topic: str, **values: Any) -> None:
        kind, message = messages.EVENTS[topic]
        envelope = {
            'timestamp': messages.timestamp(time.time()),
            'namespace': self._namespace, 'topic': topic,
            'event': {'type_url': kind, 'value': message.encode(values)}}
        self._queue.append(
            (topic, messages.FORWARD.encode({'envelope': envelope})))
        self._empty.clear()
        self._filled.set()

    async def _run(self) -> None:
        metadata = [{'key': 'containerd-namespace-ttrpc',
                     'value': self._namespace}]
        while True:
            await self._filled.wait()
            topic, payload = self._queue[0]
            try:
                async with asyncio.timeout(10):
                    await self._client.call(messages.EVENTS_SERVICE,
                                            'Forward', payload, metadata)
            except (OSError, EOFError) as e:  # TimeoutError is an OSError
                log.debug(f'event {topic} will be sent again: {e}')
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except ttrpc.RpcError as e:
                log.error(f'containerd refused event {topic}: {e}')
            except protobuf.DecodeError as e:  # containerd has the event
                log.error(f'the answer to event {topic} is damaged: {e}')
            if self._queue and self._queue[0][1] is payload:
                self._queue.popleft()
            if not self._queue:
                self._filled.clear()
                self._empty.set()

    async def settle(self, seconds: float) -> None:
        """Wait until containerd has all events, or the time is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            log.debug(f'{len(self._queue)} events are still on their way')

    async def close(self, seconds: float) -> None:
        """Wait up to ``seconds`` for queued events, then stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            log.error(f'dropped {len(self._queue)} events: containerd did '
                      f'not take them within {seconds:g} s')
        self._task.cancel()
        self._client.close()
