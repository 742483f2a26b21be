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

"""The one gRPC channel of a process to containerd."""

from collections.abc import Callable
import time
from typing import Any

import grpc

# kubelet's limit for CRI messages; gRPC's own (4 MiB) is too small for the
# output of an exec or for a list of hundreds of containers.
_MAX_MESSAGE = 16 * 1024 * 1024

# A restart of containerd takes a second; gRPC's defaults would have us wait
# up to two minutes after it.
_BACKOFF_MS = (100, 500)

# For one try to connect, however short the pause after it: a busy
# containerd needs a moment to take a connection.
_CONNECT_MS = 5000

# Seconds for containerd to come back before a call fails.
_PATIENCE = 2.0

# What gRPC says of a call that it could not send, for want of a connection.
_NEVER_SENT = ('failed to connect to all addresses',
               'connections to all backends failing')

# What containerd says while its CRI plugin reads the state that it left.
_STARTING = 'server is not initialized yet'


def connect(address: str, patience: float = _PATIENCE) -> grpc.Channel:
    """A channel to the socket at ``address``.

    It connects when first used, and again by itself when containerd was
    restarted.

    :param patience: seconds that a call waits for a containerd that is
        away, before it fails as UNAVAILABLE; 0 for those who only look.
    """
    channel = grpc.insecure_channel(f'unix://{address}', options=[
        ('grpc.max_send_message_length', _MAX_MESSAGE),
        ('grpc.max_receive_message_length', _MAX_MESSAGE),
        # The default authority is the socket's path, which Go's HTTP/2
        # server refuses.
        ('grpc.default_authority', 'localhost'),
        ('grpc.initial_reconnect_backoff_ms', _BACKOFF_MS[0]),
        ('grpc.min_reconnect_backoff_ms', _CONNECT_MS),
        ('grpc.max_reconnect_backoff_ms', _BACKOFF_MS[1]),
    ])
    if not patience:
        return channel
    return grpc.intercept_channel(channel, _Patience(channel, patience))


class _Patience(grpc.UnaryUnaryClientInterceptor):
    """Sends a call again that containerd did not look at.

    gRPC fails calls at once while it waits for its next try to connect, so
    also for a moment after containerd is back (its own ``wait_for_ready``
    would wait for as long as the call itself may take). A call that
    containerd may have acted upon is never sent again.
    """

    def __init__(self, channel: grpc.Channel, patience: float) -> None:
        self._channel = channel
        self._patience = patience

    def intercept_unary_unary(self, continuation: Callable[..., Any],
                              client_call_details: Any, request: Any) -> Any:
        end = time.monotonic() + self._patience
        while True:
            call = continuation(client_call_details, request)
            if call.code() == grpc.StatusCode.OK:
                return call
            why = call.details() or ''
            if any(words in why for words in _NEVER_SENT):
                if not self._connected(end - time.monotonic()):
                    return call
            elif _STARTING in why and time.monotonic() < end:
                time.sleep(_BACKOFF_MS[0] / 1000)
            else:
                return call

    def _connected(self, within: float) -> bool:
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=max(within, 0))
        except grpc.FutureTimeoutError:
            return False
        finally:
            ready.cancel()
        return True
