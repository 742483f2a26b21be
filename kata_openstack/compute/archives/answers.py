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

"""What a child tells about a copy, checked: a guest may lie."""

import re
from typing import Any

from kata_openstack import exception
from kata_openstack.runtime.archives import archive_error

_MAX_NUMBER = 1 << 53  # of JSON
_MAX_MODE = 1 << 32
_MAX_TEXT = 600
_INTERRUPTED = ('the copy was interrupted: the container has ended, or has too '
                'little free memory for it')
_TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z')


def checked(outcome: Any, container_uuid: str) -> dict[str, Any]:
    """Return name, size, mode, mtime and linkTarget; {} of a copy inwards.

    :raises InvalidInput, Conflict: the request is wrong, and the user
        can correct it.
    :raises RuntimeFailed: it failed in another way, or tells nonsense.
    """
    told = outcome if isinstance(outcome, dict) else {}
    error = told.get('error')
    if isinstance(error, list) and len(error) == 4:
        field, value, why, remedy = (_text(part) for part in error)
        if field == archive_error.CONTAINER:
            raise exception.Conflict(kind='Container', id=container_uuid,
                                     state=why, remedy=remedy)
        raise exception.InvalidInput(field=field, value=value, why=why,
                                     remedy=remedy)
    if not isinstance(told.get('stat'), dict):
        raise exception.RuntimeFailed(
            operation='Copying files', why=_text(told.get('failed') or
                                                 _INTERRUPTED))
    found = told['stat']
    moment = found.get('mtime')
    return {'name': _text(found.get('name', '')),
            'size': _number(found.get('size'), _MAX_NUMBER),
            'mode': _number(found.get('mode'), _MAX_MODE),
            'mtime': (moment if isinstance(moment, str)
                      and _TIME.fullmatch(moment)
                      else '1970-01-01T00:00:00Z'),
            'linkTarget': _text(found.get('linkTarget', ''))
            } if found else {}


def _text(value: Any) -> str:
    return ''.join(c if c.isprintable() else ' '
                   for c in str(value)[:_MAX_TEXT])


def _number(value: Any, limit: int) -> int:
    return (value if type(value) is int and 0 <= value < limit else 0)
