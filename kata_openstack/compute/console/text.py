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

"""What passes between a user's screen and keyboard and a process."""

import codecs

# Docker's keys to leave a terminal: Ctrl-P, Ctrl-Q
_DETACH = b'\x10\x11'


class WholeCharacters:
    """Output in pieces that each are valid UTF-8.

    The client decodes each piece for itself, and ends at an error.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder('utf-8')('replace')

    def feed(self, data: bytes) -> bytes:
        """Return the characters that are complete.

        Bytes that belong to no character become U+FFFD.
        """
        return self._decoder.decode(data).encode()

    @property
    def waiting(self) -> bool:
        """Whether a character is incomplete."""
        return bool(self._decoder.getstate()[0])

    def flush(self) -> bytes:
        """Return U+FFFD for an incomplete character."""
        return self._decoder.decode(b'', final=True).encode()


class DetachKeys:
    """Find the keys with which the user leaves.

    As with Docker, the first of them passes when another key follows.
    """

    def __init__(self) -> None:
        self._held = b''

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return the input for the process, and whether the user leaves."""
        data = self._held + data
        before, found, _ = data.partition(_DETACH)
        if found:
            return before, True
        self._held = data[-1:] if data.endswith(_DETACH[:1]) else b''
        return data[:len(data) - len(self._held)], False
