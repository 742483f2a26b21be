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

"""containerd's event stream, with automatic reconnection.

containerd keeps no history, so events without a subscriber are lost. The
stream therefore reports each (re)connection, and its reader then compares its
own state with containerd's.
"""

from collections.abc import Iterator
import dataclasses
import logging
import threading
import time
from typing import Any

from google.protobuf import empty_pb2
from google.protobuf import message
import grpc
from oslo_config import cfg

from kata_openstack.runtime.containerd.protos import event_types_pb2
from kata_openstack.runtime.containerd.protos import events_pb2
from kata_openstack.runtime.containerd.protos import events_pb2_grpc
from kata_openstack.runtime.containerd.protos import version_pb2_grpc

LOG = logging.getLogger(__name__)

# The topic of a pseudo-event, which precedes the events of each connection.
CONNECTED = 'connected'

_TYPES = {
    f'containerd.events.{name}': getattr(event_types_pb2, name)
    for name in ('ContainerCreate', 'ContainerDelete', 'TaskCreate',
                 'TaskStart', 'TaskDelete', 'TaskExit', 'TaskOOM',
                 'TaskPaused', 'TaskResumed')}

_PAUSE_MIN = 0.1
_PAUSE_MAX = 5.0
_POLL = 0.5  # seconds until stop() is noticed
_NOT_THERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclasses.dataclass(frozen=True)
class Event:
    """topic: such as '/tasks/exit'; timestamp: Unix seconds; body: message."""

    topic: str
    timestamp: float
    body: Any


class EventStream:
    """Iterate over it in one thread; call :meth:`stop` in another."""

    def __init__(self, conf: cfg.ConfigOpts, channel: grpc.Channel) -> None:
        namespace = conf.containerd.namespace
        self._version = version_pb2_grpc.VersionStub(channel)
        self._stub = events_pb2_grpc.EventsStub(channel)
        self._request = events_pb2.SubscribeRequest(filters=[
            f'namespace=={namespace},topic~=^/{kind}/'
            for kind in ('containers', 'tasks')])
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._call: Any = None

    def __iter__(self) -> Iterator[Event]:
        pause = _PAUSE_MIN
        while self._wait_ready() and self._subscribe():
            try:
                # containerd does not confirm a subscription. But requests
                # that the reader sends after this use the same connection,
                # so containerd gets them after the subscription.
                yield Event(CONNECTED, time.time(), None)
                for envelope in self._call:
                    pause = _PAUSE_MIN
                    try:
                        event = decode(envelope)
                    except message.DecodeError as e:
                        LOG.warning('Ignored an unreadable event %s: %s',
                                    envelope.topic, e)
                        continue
                    if event:
                        yield event
                why = 'containerd closed the stream'
            except grpc.RpcError as e:
                why = e.details() or str(e.code())
            if self._stopped.wait(pause):
                return
            LOG.warning("containerd's event stream ended (%s); connecting "
                        'again', why)
            pause = min(pause * 2, _PAUSE_MAX)

    def _wait_ready(self) -> bool:
        """Wait until containerd answers; return False if stopped before.

        This does not use grpc.channel_ready_future, because its thread runs
        on for a while and logs an error if the channel is closed meanwhile.
        """
        turns = 0
        while not self._stopped.is_set():
            try:
                self._version.Version(empty_pb2.Empty(), timeout=_POLL,
                                      wait_for_ready=True)
                return True
            except grpc.RpcError as e:
                if e.code() not in _NOT_THERE:
                    return True  # the subscription will report the error
            turns += 1
            if turns == 3:
                LOG.warning('Waiting for containerd')
            self._stopped.wait(_PAUSE_MIN)
        return False

    def _subscribe(self) -> bool:
        with self._lock:
            if self._stopped.is_set():
                return False
            self._call = self._stub.Subscribe(self._request)
            return True

    def stop(self) -> None:
        """End the iteration. Safe to call from any thread, repeatedly."""
        self._stopped.set()
        with self._lock:
            if self._call is not None:
                self._call.cancel()


def decode(envelope: events_pb2.Envelope) -> Event | None:
    """Return the event; None for a type that this project does not use."""
    # containerd writes the bare name; other programs add a host before it
    name = envelope.event.type_url.rpartition('/')[2]
    if name not in _TYPES:
        return None
    return Event(envelope.topic, envelope.timestamp.ToNanoseconds() / 1e9,
                 _TYPES[name].FromString(envelope.event.value))
