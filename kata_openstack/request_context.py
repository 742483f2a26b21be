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

"""The context of the request that a thread works on.

oslo.log shows it in each line, and notifications carry it. So the request ID
of a user's call to Zun leads to everything that the node did for it.
"""

from collections.abc import Callable
import re
from typing import Any
from typing import TypeVar

from oslo_context import context

T = TypeVar('T')
_FIELDS = ('request_id', 'project_id', 'user_id')
# A line feed in one would forge a line of the log.
_ID = re.compile(r'[\w.:@=+ -]{1,255}')


def enter(ctxt: dict[str, Any]) -> None:
    """Set the context of this thread, until it works on another request.

    A request without an ID, such as one of a periodic task, gets a new one.

    :param ctxt: from the caller, unchecked
    """
    context.RequestContext(request_id=_value(ctxt, 'request_id'),
                           project_id=_value(ctxt, 'project_id'),
                           user_id=_value(ctxt, 'user_id'))


def _value(ctxt: dict[str, Any], name: str) -> str | None:
    value = ctxt.get(name)
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def carried(function: Callable[..., T]) -> Callable[..., T]:
    """Return ``function`` for another thread, with this thread's context."""
    current = context.get_current()

    def call(*args: Any) -> T:
        if current is not None:
            current.update_store()
        return function(*args)

    return call


def current() -> dict[str, Any]:
    """Return the context of this thread's request; empty without one."""
    found = context.get_current()
    return {} if found is None else {
        name: getattr(found, name) for name in _FIELDS}
