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

"""Replaces files that hold JSON.

Imports little, because each shim start uses it.
"""

import json
import os
import threading
from typing import Any


def replace(path: str | os.PathLike[str], content: Any, *,
            durable: bool = False, mode: int = 0o600) -> None:
    """Write a file in one step: a reader sees the old or the new content.

    Processes and threads may write the same file at the same time. The
    folder is created if it is missing.

    :param durable: write to the disk before returning, so that the content
        survives a crash of the host. It costs some milliseconds; leave it
        out for files on a tmpfs and for those that are valid for one boot.
    :raises OSError: if the file cannot be written; the old one is unchanged.
    """
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    new = f'{path}.{os.getpid()}-{threading.get_ident()}'
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                 | os.O_CLOEXEC, mode)
    try:
        with open(fd, 'w') as file:
            os.fchmod(fd, mode)  # regardless of the umask
            file.write(json.dumps(content) + '\n')
            if durable:
                file.flush()
                os.fsync(fd)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
    if durable:
        _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Make the new name of a file survive a crash, where that is possible.

    Some file systems (FUSE, 9p) cannot write a folder to the disk. The file
    is in place already, so this is not an error.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)
