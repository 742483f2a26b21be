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

"""The work of a child: packs or unpacks, and tells the outcome as JSON."""

from collections.abc import Collection
import json
import os
import resource
from typing import Any
from typing import NamedTuple

from kata_openstack.runtime.archives import archive_error
from kata_openstack.runtime.archives import packing
from kata_openstack.runtime.archives import tar_source
from kata_openstack.runtime.archives import unpacking
from kata_openstack.runtime.embedded.common import syscalls

MOST_ENTRIES = 200_000
_OPEN_FILES = 64
_CAP_CHOWN, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 0, 1, 2
_CAP_FOWNER, _CAP_FSETID = 3, 4
# to read and write files of all owners, and to keep their modes
_KEPT = (_CAP_CHOWN, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_FOWNER,
         _CAP_FSETID)


class Order(NamedTuple):
    """What to do.

    ``limit``: bytes of the archive, without compression; ``keep_free``: bytes
    that must stay free on the container's file system.
    """

    put: bool
    path: str
    limit: int
    keep_free: int = 0


def confine() -> None:
    """Give up what this work does not need.

    The root of the process is the container's already.

    :raises OSError:
    """
    os.umask(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    syscalls.no_new_privileges()
    syscalls.keep_capabilities(_KEPT)


def run(order: Order, mounts: Collection[bytes] = (),
        hidden: Collection[bytes] = (),
        kernels: Collection[int] = ()) -> dict[str, Any]:
    """Unpack fd 0, or pack to fd 1. Never raises.

    :param mounts, hidden: see :class:`unpacking.Unpacker`.
    :param kernels: see :class:`packing.Packer`.
    :returns: ``error``, see :class:`archive_error.ArchiveError`, or ``stat``
        of what was packed.
    """
    try:
        path = os.fsencode(order.path)
        if order.put:
            unpacking.Unpacker(
                tar_source.Reader(tar_source.Source(0, order.limit),
                                  MOST_ENTRIES),
                mounts, hidden, order.keep_free).unpack(path)
            return {'stat': {}}
        return {'stat': packing.Packer(1, order.limit, MOST_ENTRIES,
                                       kernels).pack(path)}
    except archive_error.ArchiveError as e:
        return {'error': e.told}
    except Exception as e:
        return {'failed': f'{type(e).__name__}: {e}'}


def tell(outcome: dict[str, Any]) -> None:
    """Write the outcome to fd 2."""
    os.write(2, json.dumps(outcome).encode())
