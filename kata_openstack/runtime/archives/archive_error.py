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

"""The one error of this package, as a child tells it to kata-compute."""

from typing import Final

PATH: Final = 'path'
ARCHIVE: Final = 'archive'
CONTAINER: Final = 'container'  # its state does not allow the operation
_MAX = 256  # characters of a tenant's name


class ArchiveError(Exception):
    """A copy failed, and the user can do something about it.

    :param field: what is wrong: PATH, ARCHIVE or CONTAINER.
    :param value: the wrong value; '' for a container.
    :param why, remedy: for people. For a container, ``why`` completes the
        sentence "The container is ...".
    """

    def __init__(self, field: str, value: bytes | str, why: str,
                 remedy: str) -> None:
        super().__init__(why)
        self.told = [field, text(value), why, remedy]


def text(value: bytes | str) -> str:
    """Return a name as printable text of a limited length."""
    if isinstance(value, bytes):
        value = value.decode('utf-8', 'backslashreplace')
    value = value.encode('utf-8', 'backslashreplace').decode()
    if len(value) > _MAX:
        value = value[:_MAX] + '...'
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
