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

"""Memory that a template need not have, and so no VM that is made from it."""

from collections.abc import Iterable
import contextlib
import os
from typing import Any
from typing import Final

from kata_openstack.runtime.embedded.agent import system

_PAGE: Final = 4096
_PART: Final = 512 * 1024
# The guest gives free blocks of so many pages, as a power of two, to the host
# (PAGE_REPORTING_MIN_ORDER in the kernel).
_REPORTED_ORDER: Final = 9


def remove_loaded(modules: Iterable[Any]) -> None:
    """Remove the files of Python modules: the initramfs is in memory.

    :param modules: as in sys.modules. Python does not read their files again.
    """
    for module in modules:
        path = getattr(module, '__file__', None) or ''
        # of a module that is built into Python, this is the missing source
        for name in (path, f'{path}c'):
            if name.endswith('.pyc'):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)


def clear_free() -> None:
    """Clear the small blocks of free memory, which the host does not get.

    They hold what was there before. The kernel clears each page that a
    process gets, and takes it from the smallest block. A template's RAM file
    has holes in place of cleared pages, see ram.drop_zeros.
    """
    taken = []
    for _ in range(-(-_small_blocks() // _PART)):
        # Each part is used before there is another one. So none gets a huge
        # page, which would be one of the large blocks.
        part = bytearray(_PART)
        part[::_PAGE] = bytes(_PART // _PAGE)
        taken.append(part)


def _small_blocks() -> int:
    """Return how much free memory is in small blocks, in bytes."""
    pages = 0
    for line in system.read('/proc/buddyinfo').splitlines():
        # Node 0, zone DMA32 and the number of blocks of each order
        for order, count in enumerate(line.split()[4:4 + _REPORTED_ORDER]):
            pages += int(count) << order
    return pages * _PAGE
