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

"""The sessions of this node: who holds a secret may use its terminal.

They live in memory. After a restart of kata-compute, a user asks again.
"""

import dataclasses
import hashlib
import secrets
import threading
import time
from typing import Any

_BYTES = 32  # of a secret
# Sessions that no user has opened yet. If there are more, the oldest goes.
_PENDING = 1024
_PENDING_PER_CONTAINER = 16
# Sessions in use
_OPEN_PER_CONTAINER = 32

EXEC = 'exec'
ATTACH = 'attach'

Size = tuple[int, int]


@dataclasses.dataclass(eq=False)
class Session:
    """``container_id``: containerd's; ``size``: rows and columns.

    ``users``: open connections; ``process``: of an exec that runs.
    """

    kind: str
    project: str | None
    container: str
    container_id: str
    terminal: bool
    stdin: bool
    command: list[str] = dataclasses.field(default_factory=list, repr=False)
    size: Size | None = None
    users: int = 0
    process: Any = None
    expires: float = 0.0


class Full(Exception):
    """The text is for the user."""


class Sessions:
    """Finds sessions by their secrets. Thread-safe.

    It keeps the hashes of the secrets only. A look-up by hash takes a time
    that tells nothing about the secret.
    """

    def __init__(self, timeout: float, most: int) -> None:
        """:param timeout: seconds after which an unused session expires

        :param most: sessions that may be in use
        """
        self._timeout = timeout
        self._most = most
        self._lock = threading.Lock()
        # The order of this is the order in which they expire.
        self._pending: dict[bytes, Session] = {}
        self._open: dict[bytes, Session] = {}

    def add(self, session: Session) -> str:
        """:returns: the secret, 64 hexadecimal digits"""
        secret = secrets.token_hex(_BYTES)
        with self._lock:
            self._keep(_hash(secret), session)
            same = [key for key, other in self._pending.items()
                    if other.container == session.container]
            if len(same) > _PENDING_PER_CONTAINER:
                del self._pending[same[0]]
            if len(self._pending) > _PENDING:
                del self._pending[next(iter(self._pending))]
        return secret

    def _keep(self, key: bytes, session: Session) -> None:
        self._expire()
        session.expires = time.monotonic() + self._timeout
        self._pending[key] = session

    def _expire(self) -> None:
        now = time.monotonic()
        while self._pending:
            key, session = next(iter(self._pending.items()))
            if session.expires > now:
                break
            del self._pending[key]

    def open(self, secret: str, kind: str) -> Session | None:
        """Begin to use a session; an exec can be used once.

        :returns: None if the secret opens nothing, or no longer.
        :raises Full: too many are in use.
        """
        key = _hash(secret)
        with self._lock:
            self._expire()
            session = self._pending.get(key) or self._open.get(key)
            if session is None or session.kind != kind:
                return None
            if kind == EXEC and session.users:
                return None
            self._admit(session)
            self._pending.pop(key, None)
            self._open[key] = session
            session.users += 1
            return session

    def _admit(self, wanted: Session) -> None:
        used = [session for session in self._open.values()
                for _ in range(session.users)]
        for count, limit, whose in (
                (len(used), self._most, 'The node'),
                (sum(s.project == wanted.project for s in used),
                 max(1, self._most // 2), 'Your project'),
                (sum(s.container == wanted.container for s in used),
                 _OPEN_PER_CONTAINER, 'The container')):
            if count >= limit:
                raise Full(f'{whose} has too many terminals in use on this '
                           f'node: {limit}. End one of them first.')

    def leave(self, secret: str) -> None:
        """End one use of a session; only an attach can be used again."""
        key = _hash(secret)
        with self._lock:
            session = self._open[key]
            session.users -= 1
            if not session.users:
                del self._open[key]
                if session.kind == ATTACH:
                    self._keep(key, session)

    def find(self, secret: str) -> Session | None:
        """Return a session that waits or is in use."""
        key = _hash(secret)
        with self._lock:
            self._expire()
            return self._pending.get(key) or self._open.get(key)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
