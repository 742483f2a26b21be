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

"""containerd's event stream, as long as the process lives.

containerd keeps no history: what happens while nobody listens is lost. So
the stream says when it is (again) connected, and its reader compares what
it knows with what containerd has.
"""

from collections.abc import Iterator
import dataclasses
import logging
import threading
import time
from typing import Any

from google.protobuf import empty_pb2
import grpc
from oslo_config import cfg

from kata_openstack.runtime.containerd.protos import event_types_pb2
from kata_openstack.runtime.containerd.protos import events_pb2
from kata_openstack.runtime.containerd.protos import events_pb2_grpc
from kata_openstack.runtime.containerd.protos import version_pb2_grpc

LOG = logging.getLogger(__name__)

# Topic of the pseudo-event that stands before the first event of every
# connection.
CONNECTED = 'connected'

_TYPES = {
    f'containerd.events.{name}': getattr(event_types_pb2, name)
    for name in ('ContainerCreate', 'ContainerDelete', 'TaskCreate',
                 'TaskStart', 'TaskDelete', 'TaskExit', 'TaskOOM',
                 'TaskPaused', 'TaskResumed')}

_PAUSE_MIN = 0.1
_PAUSE_MAX = 5.0
_POLL = 0.5  # for the wish to stop
_NOT_THERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclasses.dataclass(frozen=True)
class Event:
    """topic: '/tasks/exit'...; timestamp: Unix seconds; body: its message."""

    topic: str
    timestamp: float
    body: Any


class EventStream:
    """Iterate over it in one thread; ``stop`` it from another."""

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
                # containerd sends nothing before the first event, so there
                # is no sign that the subscription stands. What the reader
                # asks after this goes through the same connection, behind
                # the subscription.
                yield Event(CONNECTED, time.time(), None)
                for envelope in self._call:
                    pause = _PAUSE_MIN
                    event = decode(envelope)
                    if event:
                        yield event
                why = 'containerd closed it'
            except grpc.RpcError as e:
                why = e.details() or str(e.code())
            if self._stopped.wait(pause):
                return
            LOG.warning("containerd's event stream ended (%s); connecting "
                        'again', why)
            pause = min(pause * 2, _PAUSE_MAX)

    def _wait_ready(self) -> bool:
        """Until containerd answers; False when stopped before.

        Not by grpc.channel_ready_future: its thread goes on for a while, and
        fails noisily when the channel is closed meanwhile.
        """
        turns = 0
        while not self._stopped.is_set():
            try:
                self._version.Version(empty_pb2.Empty(), timeout=_POLL,
                                      wait_for_ready=True)
                return True
            except grpc.RpcError as e:
                if e.code() not in _NOT_THERE:
                    return True  # whatever it is, the subscription will say
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
        """End the iteration; safe to call from any thread, and again."""
        self._stopped.set()
        with self._lock:
            if self._call is not None:
                self._call.cancel()


def decode(envelope: events_pb2.Envelope) -> Event | None:
    """None for a type that we have no use for."""
    # containerd writes the bare name; others put a host before it.
    name = envelope.event.type_url.rpartition('/')[2]
    if name not in _TYPES:
        return None
    return Event(envelope.topic, envelope.timestamp.ToNanoseconds() / 1e9,
                 _TYPES[name].FromString(envelope.event.value))
