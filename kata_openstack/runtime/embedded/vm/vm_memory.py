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

"""The tmpfs for the memory of VMs and templates.

It is this project's own, and only root can enter it. Other programs can
neither fill it nor replace a file in it, as they could in /dev/shm. A VM
whose tmpfs is full is killed when it touches a new page. So each VM reserves
its whole memory here before it starts, and a start without enough memory is
refused.

A reservation is an empty file ``reserved-<MiB>-<name>``: one listing of the
folder tells what is reserved, and a reboot removes it with the tmpfs.
"""

from collections.abc import Iterator
import contextlib
import fcntl
import os

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.vm import size as sizes

_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_RESERVED = 'reserved'
TEMPLATE = 'template'  # the name that reserves memory for making a template


class NoMemory(Exception):
    """The memory that VMs may use is reserved. The text has the figures."""


def mount(config: settings.Settings) -> None:
    """Mount the tmpfs unless it is mounted; adapt its size if it changed.

    :raises OSError: for example if VMs use more memory than the new size.
    """
    os.makedirs(config.run_path, mode=0o700, exist_ok=True)
    path = config.memory_path
    with lock(config):
        os.makedirs(path, mode=0o700, exist_ok=True)
        flags = _FLAGS
        if _mounted(config):
            if _size_mib(path) == config.memory_mib:
                return
            flags |= syscalls.MS_REMOUNT
        syscalls.mount('kata-openstack', path, 'tmpfs', flags,
                       f'size={config.memory_mib}m,mode=700')


def ensure(config: settings.Settings) -> None:
    """Mount the tmpfs if it is missing, as after a reboot.

    Cheap if it is there: every start of a sandbox calls this.

    :raises OSError:
    """
    if not _mounted(config):
        mount(config)


@contextlib.contextmanager
def lock(config: settings.Settings, name: str = 'lock') -> Iterator[None]:
    """Hold a lock, by default that of the folder.

    Only root can open its file.
    """
    fd = os.open(f'{config.run_path}/{name}',
                 os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def reserve(config: settings.Settings, name: str, mib: int) -> None:
    """Reserve memory; a reservation of the same name is replaced.

    :param name: of the sandbox, or TEMPLATE.
    :raises NoMemory: others have reserved too much.
    :raises OSError:
    """
    limit = config.memory_mib - config.template_memory_mib
    with lock(config):
        others = 0
        for entry, owner, size in _reservations(config):
            if owner == name or _stale(config, owner):
                os.unlink(f'{config.memory_path}/{entry}')
            else:
                others += size
        if others + mib > limit:
            raise NoMemory(
                f'the VM needs {mib} MiB of memory, but of the {limit} MiB '
                f'for VMs on this node, other VMs have {others} MiB; ask for '
                'less, delete containers, or enlarge [kata] pod_memory_mib')
        _create(f'{config.memory_path}/{_RESERVED}-{mib}-{name}')


def release(config: settings.Settings, name: str) -> None:
    """End the reservation of a name. Idempotent."""
    for entry, owner, _ in _reservations(config):
        if owner == name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f'{config.memory_path}/{entry}')


def _reservations(config: settings.Settings
                  ) -> Iterator[tuple[str, str, int]]:
    """Yield the file, the owner and the size, in MiB, of each."""
    try:
        entries = os.listdir(config.memory_path)
    except FileNotFoundError:
        return
    for entry in entries:
        kind, _, rest = entry.partition('-')
        size, _, owner = rest.partition('-')
        if kind == _RESERVED and size.isdecimal():
            yield entry, owner, int(size)


def _stale(config: settings.Settings, owner: str) -> bool:
    """Return whether the owner is gone without a release.

    Only the holder of the lock for templates reserves for one, and it ends
    its reservation, unless it was killed.
    """
    return owner != TEMPLATE and not os.path.isdir(config.sandbox_path(owner))


def _mounted(config: settings.Settings) -> bool:
    try:
        return (os.lstat(config.memory_path).st_dev
                != os.lstat(config.run_path).st_dev)
    except FileNotFoundError:
        return False


def _size_mib(path: str) -> int:
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize // sizes.MIB


def _create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
