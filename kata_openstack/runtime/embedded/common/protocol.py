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

"""Frames between the shim and the guest agent, used on both sides.

A frame is ``u32 length, u8 type, u32 id, payload`` (little endian; the
length counts type, id and payload). ``id`` is the number of a call or a
process; the shim chooses it. CALL and REPLY carry a JSON object, ACK a
``u32`` number of bytes, EXIT an ``i32`` exit code and a ``u8`` that is 1
if the kernel killed for lack of memory, OOM a container's ID,
STDIN/STDOUT/STDERR raw bytes.

The shim must not trust the guest: :class:`Decoder` checks the length of
every frame before it waits for the payload.
"""

from collections.abc import Iterator
import struct
from typing import Final

# Raise it if the shim cannot work with the agent of an older release
VERSION: Final = 6

CALL: Final = 1
STDIN: Final = 2
STDIN_EOF: Final = 3
ACK: Final = 4
READY: Final = 0x80
REPLY: Final = 0x81
STDOUT: Final = 0x82
STDERR: Final = 0x83
EXIT: Final = 0x84
OOM: Final = 0x85

HEAD: Final = struct.Struct('<IBI')
COUNT: Final = struct.Struct('<I')
STATUS: Final = struct.Struct('<iB')
_ENVELOPE: Final = HEAD.size - 4

CHUNK: Final = 32 * 1024  # bytes of a stream in one frame
WINDOW: Final = 256 * 1024  # bytes of a stream that may be unacknowledged
MAX_FROM_GUEST: Final = 64 * 1024
MAX_FROM_HOST: Final = 8 * 1024 * 1024  # an OCI config with its environment


class ProtocolError(Exception):
    """The peer sent data that no correct implementation sends."""


def frame(kind: int, ident: int, payload: bytes = b'') -> bytes:
    return HEAD.pack(_ENVELOPE + len(payload), kind, ident) + payload


class Decoder:
    """Splits a byte stream into frames."""

    def __init__(self, max_payload: int) -> None:
        self._limit = max_payload + _ENVELOPE
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield (type, id, payload) of each complete frame.

        :raises ProtocolError: a length is out of bounds.
        """
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            length, kind, ident = HEAD.unpack_from(self._buffer)
            if not _ENVELOPE <= length <= self._limit:
                raise ProtocolError(f'invalid frame length {length}')
            end = 4 + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEAD.size:end])
            del self._buffer[:end]
            yield kind, ident, payload
