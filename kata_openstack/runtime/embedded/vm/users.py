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

"""User IDs: the QEMU of each sandbox runs with its own.

A user ID in use has a symbolic link ``<run>/users/<uid>`` to the sandbox's
name. The first ID of the range is for making templates.
"""

import os
import zlib

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.vm import vm_memory

_NAME = 'users'


class NoUserLeft(Exception):
    """All user IDs of the configured range are in use."""


def template_uid(config: settings.Settings) -> int:
    return config.first_uid


def take(config: settings.Settings, sandbox: str) -> int:
    """Reserve a user ID for a sandbox and return it.

    :raises NoUserLeft: all are in use.
    """
    folder = _folder(config)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    count = config.uids - 1
    start = zlib.crc32(sandbox.encode()) % count
    # without the lock, two sandboxes may replace the same stale link in turn
    with vm_memory.lock(config, f'{_NAME}/lock'):
        for step in range(count):
            uid = config.first_uid + 1 + (start + step) % count
            try:
                os.symlink(sandbox, f'{folder}/{uid}')
            except FileExistsError:
                if not _stale(config, f'{folder}/{uid}', sandbox):
                    continue
                os.unlink(f'{folder}/{uid}')
                os.symlink(sandbox, f'{folder}/{uid}')
            return uid
    raise NoUserLeft(f'all {count} user IDs after {config.first_uid} are in '
                     'use; enlarge [embedded] uids')


def _stale(config: settings.Settings, path: str, sandbox: str) -> bool:
    owner = os.readlink(path)
    return owner == sandbox or not os.path.isdir(config.sandbox_path(owner))


def release(config: settings.Settings, uid: int) -> None:
    try:
        os.unlink(f'{_folder(config)}/{uid}')
    except FileNotFoundError:
        pass


def _folder(config: settings.Settings) -> str:
    return f'{config.run_path}/{_NAME}'
