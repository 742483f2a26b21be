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

"""Archives on the node's disk, between their parts and the container.

A spool is a file without a name: nothing is left of it if kata-compute dies.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import tempfile
import threading
import time
import uuid

from oslo_utils import units

from kata_openstack.compute import space
from kata_openstack import exception

# Of the node, of a project and of a container
_MOST, _PER_PROJECT, _PER_CONTAINER = 32, 8, 4
MAX_SIZE = units.Gi  # of one archive
_MAX_TOTAL = 4 * units.Gi
_IDLE_SECONDS = 120
_FOLDER = 'kata-openstack-archives'


class Spool:
    """One archive. Only its project and its container may use it."""

    def __init__(self, folder: pathlib.Path, project: str | None,
                 container: str) -> None:
        self.id = str(uuid.uuid4())
        self.project = project
        self.container = container
        self.used = time.monotonic()
        self.busy = threading.Lock()  # held by the request that uses it
        self.file = tempfile.TemporaryFile(dir=folder, buffering=0)

    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.file.fileno(), size, offset)

    def append(self, data: bytes) -> None:
        self.file.seek(0, os.SEEK_END)
        view = memoryview(data)
        while view:
            view = view[self.file.write(view):]


class Spools:
    """The archives that are on their way. Thread-safe."""

    def __init__(self, space_: space.Space) -> None:
        self._space = space_
        self._lock = threading.Lock()
        self._spools: dict[str, Spool] = {}

    def folder(self) -> pathlib.Path:
        """Return a folder that stays empty, on the file system of containers.

        :raises KataError: containerd does not tell its root folder.
        """
        folder = self._space.root() / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def open(self, project: str | None, container: str) -> Spool:
        """:raises NodeBusy, NotEnoughDisk:"""
        self.expire()
        folder = self.folder()
        with self._lock:
            held = self._spools.values()
            for count, limit, whose in (
                    (len(held), _MOST, 'the node'),
                    (sum(s.project == project for s in held), _PER_PROJECT,
                     'your project'),
                    (sum(s.container == container for s in held),
                     _PER_CONTAINER, f'container {container}')):
                if count >= limit:
                    raise exception.NodeBusy(kind='copies of files',
                                             whose=whose, limit=limit)
            spool = Spool(folder, project, container)
            self._spools[spool.id] = spool
        try:
            self.check_room()
        except BaseException:
            self._drop(spool.id)
            raise
        return spool

    def check_room(self, size: int = 0) -> None:
        """Check that the archives may take so many bytes more.

        :raises NodeBusy, NotEnoughDisk:
        """
        with self._lock:
            total = sum(spool.size() for spool in self._spools.values())
        if total + size > _MAX_TOTAL:
            raise exception.NodeBusy(
                kind='copies of files', whose='bytes of all projects',
                limit=_MAX_TOTAL)
        self._space.check('A copy of files', size)

    @contextlib.contextmanager
    def use(self, ident: str, project: str | None, container: str
            ) -> Iterator[Spool]:
        """Enter with a spool, which does not expire meanwhile.

        :raises Conflict: there is none, or another request uses it.
        """
        with self._lock:
            spool = self._spools.get(ident)
            if (spool is None or spool.project != project
                    or spool.container != container
                    or not spool.busy.acquire(blocking=False)):
                raise exception.Conflict(
                    kind='Copy', id=ident, state='not in progress, or in use',
                    remedy='Copy the files again. A copy ends by itself '
                           f'after {_IDLE_SECONDS} s without a request.')
        try:
            yield spool
        finally:
            spool.used = time.monotonic()
            spool.busy.release()

    def close(self, ident: str, project: str | None, container: str) -> None:
        """Remove a spool. Idempotent."""
        with (contextlib.suppress(exception.Conflict),
              self.use(ident, project, container)):
            self._drop(ident)

    def expire(self) -> None:
        """Remove each spool that had no request for _IDLE_SECONDS."""
        oldest = time.monotonic() - _IDLE_SECONDS
        with self._lock:
            for spool in list(self._spools.values()):
                if spool.used < oldest and spool.busy.acquire(blocking=False):
                    del self._spools[spool.id]
                    spool.file.close()

    def _drop(self, ident: str) -> None:
        with self._lock:
            spool = self._spools.pop(ident, None)
            if spool:
                spool.file.close()
