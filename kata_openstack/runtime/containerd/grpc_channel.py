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

"""The gRPC channel to containerd."""

from collections.abc import Callable
import time
from typing import Any

import grpc

# kubelet's limit for CRI messages; gRPC's own (4 MiB) is too small for the
# output of an exec or for a list of hundreds of containers.
_MAX_MESSAGE = 16 * 1024 * 1024

# Milliseconds between attempts to connect. A restart of containerd takes a
# second; with gRPC's defaults we would wait up to two minutes after it.
_BACKOFF_MS = (100, 500)

# Milliseconds for one attempt to connect. It is independent of the pause: a
# busy containerd needs time to accept a connection.
_CONNECT_MS = 5000

# Seconds that a call waits for an unavailable containerd before it fails.
_PATIENCE = 2.0

# Details of gRPC's error for a call that it could not send.
_NEVER_SENT = ('failed to connect to all addresses',
               'connections to all backends failing')

# Details of containerd's error while its CRI plugin loads its old state.
_STARTING = 'server is not initialized yet'


def connect(address: str, patience: float = _PATIENCE) -> grpc.Channel:
    """Return a channel to the socket at ``address``.

    It connects on first use, and reconnects after a restart of containerd.

    :param patience: seconds that a call waits for an unavailable containerd
        before it fails with UNAVAILABLE; 0 for tools that only show a state.
    """
    channel = grpc.insecure_channel(f'unix://{address}', options=[
        ('grpc.max_send_message_length', _MAX_MESSAGE),
        ('grpc.max_receive_message_length', _MAX_MESSAGE),
        # Go's HTTP/2 server refuses the default, which is the socket's path.
        ('grpc.default_authority', 'localhost'),
        ('grpc.initial_reconnect_backoff_ms', _BACKOFF_MS[0]),
        ('grpc.min_reconnect_backoff_ms', _CONNECT_MS),
        ('grpc.max_reconnect_backoff_ms', _BACKOFF_MS[1]),
    ])
    if not patience:
        return channel
    return grpc.intercept_channel(channel, _Patience(channel, patience))


class _Patience(grpc.UnaryUnaryClientInterceptor):
    """Repeats calls that containerd did not process.

    While gRPC waits for its next attempt to connect, it fails calls
    immediately, even if containerd is already back. gRPC's own
    ``wait_for_ready`` would wait for the whole timeout of the call. A call
    that containerd may have processed is never repeated.
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
