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

"""Templates: VMs that are booted once, saved, and cloned for sandboxes.

A template is a folder on the tmpfs for the memory of VMs. It holds a RAM
file (sparse, some 60 MiB) and the devices' state. There is one for each size
class and accelerator. The name has a hash of everything else that the
template was made from, so a change of any of it leads to a new template.

A tenant chooses the sizes of VMs, so templates share a budget: the one that
was not used for the longest time goes first. A start opens both files before
it uses them, so it can go on when its template is removed.
"""

from collections.abc import Iterator
import contextlib
import hashlib
import os
import re
import shutil
import time
from typing import NamedTuple

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.vm import qemu
from kata_openstack.runtime.embedded.vm import size as sizes

_PREFIX = 'template-'
# These end the names of a template that is being made, and of its former one
PARTIAL, FORMER = '.partial', '.former'
_BLOCK = 512  # bytes, the unit of st_blocks


class NotMade(Exception):
    """The template could not be made. The text says why."""


class Files(NamedTuple):
    """The open files of a template."""

    ram: int
    state: int

    def close(self) -> None:
        for fd in self:
            os.close(fd)


class Template:
    def __init__(self, config: settings.Settings, size: sizes.Size) -> None:
        self.config = config
        self.size = size
        self.key = key_of(config)
        self.folder = f'{config.memory_path}/{_PREFIX}{size}-{self.key}'

    def open(self) -> Files | None:
        """Open the files for a start; None if there is no such template."""
        try:
            folder = os.open(self.folder, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        # both of one template, also if it is renewed just now
        opened = []
        try:
            for name in ('ram', 'state'):
                opened.append(os.open(name, os.O_RDONLY | os.O_CLOEXEC,
                                      dir_fd=folder))
            os.utime('ram', dir_fd=folder)  # the time of the last use
        except FileNotFoundError:
            for fd in opened:
                os.close(fd)
            return None
        finally:
            os.close(folder)
        return Files(*opened)


def older_than(config: settings.Settings, seconds: float
               ) -> list['Template']:
    """Return the templates that were made so long ago."""
    key = key_of(config)
    found = []
    for folder in _all(config):
        name = re.fullmatch(f'.*/{_PREFIX}([0-9]+)m([0-9]+)c-{key}', folder)
        with contextlib.suppress(FileNotFoundError):
            made = os.stat(f'{folder}/state').st_mtime
            if name and time.time() - made > seconds:
                found.append(Template(config, sizes.Size(
                    int(name[1]), int(name[2]))))
    return found


def key_of(config: settings.Settings) -> str:
    """Return a hash of what all templates are made from."""
    program = os.stat(config.qemu)
    made_from = [config.image_key, config.qemu, program.st_size,
                 program.st_mtime_ns,
                 *qemu.base('', config, sizes.Size(0, 0), 0, 0),
                 *qemu.boot(config.accelerator, '', '')]
    if config.accelerator == 'kvm':
        made_from.append(_processor())  # -cpu host
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]


def remove_unused(config: settings.Settings) -> None:
    """Remove outdated templates, and the least used ones beyond the budget.

    The caller holds the lock of the makers of templates, so a template that
    is only partly made has no maker any more.
    """
    keys = _keys(config)
    found = []
    for folder in _all(config):
        if folder.rpartition('-')[2] in keys:
            found.append((_used_at(folder), folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    budget = config.template_memory_mib * sizes.MIB
    for _, folder in sorted(found, reverse=True):
        budget -= _size(folder)
        if budget < 0:
            shutil.rmtree(folder, ignore_errors=True)


def _keys(config: settings.Settings) -> set[str]:
    """Return the keys of the guest in use and of the candidate for it."""
    keys = {key_of(config)}
    for name in (settings.FILE, settings.CANDIDATE):
        with contextlib.suppress(OSError, ValueError):
            keys.add(key_of(settings.Settings.load(
                f'{config.state_path}/{name}')))
    return keys


def _all(config: settings.Settings) -> Iterator[str]:
    for entry in os.listdir(config.memory_path):
        if entry.startswith(_PREFIX):
            yield f'{config.memory_path}/{entry}'


def _size(folder: str) -> int:
    return sum(entry.stat().st_blocks * _BLOCK
               for entry in os.scandir(folder))


def _used_at(folder: str) -> float:
    try:
        return os.stat(f'{folder}/ram').st_mtime
    except FileNotFoundError:
        return 0


def _processor() -> str:
    with open('/proc/cpuinfo') as file:
        return ''.join(line for line in file.read().split('\n\n')[0]
                       .splitlines()
                       if line.startswith(('model name', 'flags')))
