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

"""Reads data that another release of kata-openstack may have stored.

Files, annotations and Zun's records outlive an upgrade and a rollback. So
unknown fields are dropped, and missing ones get their defaults: a field that
a later release adds to stored data must have a default. Requests are read
strictly instead, see :mod:`kata_openstack.schema`.

Imports little, because each shim start uses it.
"""

import dataclasses
import enum
import types
import typing
from typing import Any
from typing import TypeVar

T = TypeVar('T')


def load(cls: type[T], data: Any) -> T:
    """Return an instance of a dataclass, from data that was read from JSON.

    :raises ValueError: ``data`` is not a mapping, lacks a field that has no
        default, or has a field of another type. The text has no values.
    """
    if not isinstance(data, dict):
        raise ValueError(f'{cls.__name__} has the type '
                         f'{type(data).__name__}, not dict')
    hints = typing.get_type_hints(cls)
    values = {name: _value(f'{cls.__name__}.{name}', data[name], hint)
              for name, hint in hints.items() if name in data}
    try:
        return cls(**values)
    except TypeError as e:  # it names the missing fields
        raise ValueError(str(e)) from e


def _value(field: str, value: Any, hint: Any) -> Any:
    """Return ``value`` in the type of ``hint``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in args:
            return None
        return _value(field, value,
                      next(a for a in args if a is not types.NoneType))
    if origin is list and isinstance(value, list):
        return [_value(field, item, args[0]) for item in value]
    if origin is dict and isinstance(value, dict):
        return {_value(field, k, args[0]): _value(field, v, args[1])
                for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return load(typing.cast(type[Any], hint), value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint:
        return value
    raise ValueError(f'{field} has the type {type(value).__name__}')
