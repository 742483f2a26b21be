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

"""The file system that holds images and containers."""

from collections.abc import Callable
import os
import pathlib

from oslo_config import cfg
from oslo_utils import units

from kata_openstack import exception
from kata_openstack.runtime.containerd import cri


class Space:
    """The space on the file system of containerd's root folder. Thread-safe.

    Attribute ``make_room``: removes what is not needed.
    """

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient) -> None:
        self.reserve: int = conf.compute.min_free_disk_mib * units.Mi
        self.make_room: Callable[[], None] = lambda: None
        self._client = client
        self._root: pathlib.Path | None = None

    def root(self) -> pathlib.Path:
        """Return the root folder of containerd.

        :raises KataError: if containerd does not tell it.
        """
        if self._root is None:
            self._root = self._client.root()
        return self._root

    def total(self) -> int:
        """:returns: bytes"""
        found = os.statvfs(self.root())
        return found.f_blocks * found.f_frsize

    def free(self) -> int:
        """:returns: bytes"""
        found = os.statvfs(self.root())
        return found.f_bavail * found.f_frsize

    def check(self, what: str, size: int = 0) -> None:
        """Make room if necessary.

        :param what: what takes the space, for the error.
        :param size: in bytes, beside the space that stays free.
        :raises NotEnoughDisk:
        """
        if self.free() < size + self.reserve:
            self.make_room()
            free = self.free()
            if free < size + self.reserve:
                raise self.error(what, size, free)

    def error(self, what: str, size: int, free: int
              ) -> exception.NotEnoughDisk:
        return exception.NotEnoughDisk(
            what=what, asked_mib=(size + self.reserve) // units.Mi,
            reserve_mib=self.reserve // units.Mi, free_mib=free // units.Mi)
