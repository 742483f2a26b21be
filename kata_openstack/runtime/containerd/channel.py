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

import grpc

# kubelet's limit for CRI messages; gRPC's own (4 MiB) is too small for the
# output of an exec or for a list of hundreds of containers.
_MAX_MESSAGE = 16 * 1024 * 1024


def connect(address: str) -> grpc.Channel:
    """A channel to the socket at ``address``.

    It connects when first used, and again by itself when containerd was
    restarted.
    """
    return grpc.insecure_channel(f'unix://{address}', options=[
        ('grpc.max_send_message_length', _MAX_MESSAGE),
        ('grpc.max_receive_message_length', _MAX_MESSAGE),
        # The default authority is the socket's path, which Go's HTTP/2
        # server refuses.
        ('grpc.default_authority', 'localhost'),
        # A restart of containerd takes a second; the defaults would have
        # us wait up to two minutes after it.
        ('grpc.initial_reconnect_backoff_ms', 100),
        ('grpc.min_reconnect_backoff_ms', 100),
        ('grpc.max_reconnect_backoff_ms', 2000),
    ])
