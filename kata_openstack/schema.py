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

"""Checks the data in RPC requests: types, sizes and forms.

The values come from tenants, and the password of the message broker must not
open more than the schema of the requests. Unknown fields and invalid values
are refused with :class:`~kata_openstack.exception.InvalidInput`.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import ipaddress
import re
import types
import typing
from typing import Annotated
from typing import Any
from typing import Self

from oslo_utils import units

from kata_openstack import exception

MAX_STRING = 128 * 1024  # Linux refuses a longer argument (MAX_ARG_STRLEN)
MAX_ITEMS = 4096
MAX_DETAILS = 16 * 1024  # characters
# of a whole request; its parts must fit into a message of gRPC, of 16 MiB
MAX_REQUEST = 8 * units.Mi  # bytes
MAX_NUMBER = 2 ** 53  # JSON carries larger integers differently

# Ends of the names of fields that errors do not quote
_SECRET = ('.environment', '.password', 'archive_data')

_SAME_RELEASE = ('Run the same release of kata-openstack in zun-compute and '
                 'in kata-compute.')

# Types, as an error message names them.
_TYPES = {str: 'a string', int: 'an integer', float: 'a number',
          bool: 'true or false', list: 'a list'}


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule for the form of a value.

    ``expected``: what the value must be, for the error message.
    """

    holds: Callable[[Any], Any]
    expected: str


def matches(pattern: str, expected: str) -> Rule:
    return Rule(re.compile(pattern).fullmatch, expected)


def one_of(*values: str) -> Rule:
    return Rule(values.__contains__, ' or '.join(values))


def between(low: int, high: int, unit: str = '') -> Rule:
    return Rule(lambda value: low <= value <= high,
                 f'a number from {low} to {high}{unit}')


def parses(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def holds(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return '%' not in value  # no zone of an IPv6 address

    return holds


# They become names of files and folders.
Uuid = Annotated[str, matches(
    '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}',
    'a UUID of 36 characters, with hyphens, in lower case')]
# of projects and users, as Keystone and LDAP have them; may be empty
Owner = Annotated[str, matches(r'[\w.:@=+ -]{0,255}', 'an ID of Keystone')]
# of an entry point or a handler
Word = Annotated[str, matches('[A-Za-z0-9][A-Za-z0-9._-]{0,63}',
                               'a name of letters, digits, ".", "_" and "-"')]
Mac = Annotated[str, matches('[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}',
                              'a MAC address, such as fa:16:3e:00:00:01')]
Address = Annotated[str, Rule(parses(ipaddress.ip_address),
                               'an IP address')]
Cidr = Annotated[str, Rule(parses(ipaddress.ip_network),
                            'a network, such as 10.0.0.0/24')]
# also for search lists, where Docker and Neutron take underscores
Domain = Annotated[str, matches(
    r'(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*',
    'a DNS domain')]
# more than any other string can have; a part of an archive
ArchiveData = Annotated[Any, Rule(
    lambda value: isinstance(value, str) and len(value) < MAX_REQUEST,
    f'base64 of less than {MAX_REQUEST} characters')]
Offset = Annotated[int, between(0, 2 ** 40)]
Mebibytes = Annotated[int, between(1, 2 ** 20, ' MiB')]
Seconds = Annotated[int, between(0, 24 * 3600, ' seconds')]
# of a terminal, in characters; 0 if the client does not know it
Side = Annotated[int, between(0, 65535)]
Secret = Annotated[str, matches('[0-9a-f]{64}', '64 hexadecimal digits')]
Lines = Annotated[int, between(0, 2 ** 31)]
Moment = Annotated[float, between(0, 2 ** 40, ' Unix seconds')]
# of pulling an image
POLICIES = ('always', 'ifnotpresent', 'never')
Policy = Annotated[str, one_of(*POLICIES)]


def arguments(method: str, given: Mapping[str, Any],
              hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an RPC method in the types of ``hints``.

    :raises InvalidInput: for an unknown, missing or invalid argument, or if
        all of them together are too large.
    """
    size = _size(given)
    if size > MAX_REQUEST:
        raise exception.InvalidInput(
            field=method, value=f'{size} bytes',
            why=f'a request can have at most {MAX_REQUEST} bytes',
            remedy='Shorten commands and environments. Put large data into '
                   'the image, or let the container download it.')
    for why, names in (('unknown', set(given) - set(hints)),
                       ('missing', set(hints) - set(given))):
        if names:
            raise exception.InvalidInput(
                field=method, value=_short(min(names)),
                why=f'the argument is {why}', remedy=_SAME_RELEASE)
    return {name: _check(name, given[name], hint)
            for name, hint in hints.items()}


def _size(value: Any) -> int:
    """Return the bytes of all texts in ``value``, and some for the rest."""
    size, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        size += (len(item.encode(errors='surrogatepass'))
                 if isinstance(item, str) else 8)
        if isinstance(item, Mapping):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple)):
            waiting += item
    return size


def _check(field: str, value: Any, hint: Any) -> Any:
    """Return ``value`` in the type of ``hint``.

    :raises InvalidInput: for a wrong type or form, an oversized value, or a
        NUL.
    """
    if hint is Any:
        return value
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin is Annotated:
        value = _check(field, value, args[0])
        for rule in args[1:]:
            if not rule.holds(value):
                raise _invalid(field, value, f'it is not {rule.expected}',
                               f'Use {rule.expected}.')
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in args:
            return None
        return _check(field, value,
                      next(a for a in args if a is not types.NoneType))
    if origin is list:
        if isinstance(value, (list, tuple)) and len(value) <= MAX_ITEMS:
            return [_check(field, item, args[0]) for item in value]
    elif origin is dict:
        if isinstance(value, dict) and len(value) <= MAX_ITEMS:
            return {_check(field, k, args[0]): _check(field, v, args[1])
                    for k, v in value.items()}
    elif hint is float:
        if (isinstance(value, (int, float)) and not isinstance(value, bool)
                and abs(value) <= MAX_NUMBER):  # this refuses NaN, too
            return float(value)
    elif hint is int:
        if type(value) is int and abs(value) <= MAX_NUMBER:
            return value
    elif isinstance(hint, type) and issubclass(hint, Data):
        if isinstance(value, hint):
            return value
        if isinstance(value, dict):
            return hint.from_dict(value)
    elif type(value) is hint:
        if hint is not str or (len(value) <= MAX_STRING
                               and '\0' not in value):
            return value
    raise _invalid(field, value, *_fault(value, origin or hint))


def _invalid(field: str, value: Any, why: str, remedy: str
             ) -> exception.InvalidInput:
    # these hold secrets, and the error reaches logs and Zun
    shown = ('(not shown)' if field.endswith(_SECRET) else _short(value))
    return exception.InvalidInput(field=field, value=shown, why=why,
                                  remedy=remedy)


def _fault(value: Any, wanted: Any) -> tuple[str, str]:
    """Return the reason why _check() refuses ``value``, and the remedy."""
    if wanted in (int, float) and type(value) in (int, float):
        return ('it is not a number of this size',
                f'Use {_TYPES[wanted]} of at most {MAX_NUMBER}.')
    if wanted is str and isinstance(value, str):
        if '\0' in value:
            return 'it contains a NUL character', 'Remove the NUL character.'
        return (f'it has {len(value)} characters',
                f'Use at most {MAX_STRING} characters.')
    if ((wanted is list and isinstance(value, (list, tuple)))
            or (wanted is dict and isinstance(value, dict))):
        return f'it has {len(value)} items', f'Use at most {MAX_ITEMS} items.'
    return (f'it has the type {type(value).__name__}',
            f'Use {_TYPES.get(wanted, "a mapping")}.')


def _short(value: Any) -> str:
    """Cut ``value`` to 32 characters: a tenant's value may be huge."""
    text = str(value)
    return text if len(text) <= 32 else text[:32] + '...'


class Data:
    """A base for dataclasses that convert from and to dictionaries."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """:raises InvalidInput: for an unknown, missing or invalid field."""
        hints = typing.get_type_hints(cls, include_extras=True)
        unknown = sorted(set(data) - set(hints))
        if unknown:
            raise exception.InvalidInput(
                field=cls.__name__, value=unknown[0],
                why='the field is unknown', remedy=_SAME_RELEASE)
        values = {name: _check(f'{cls.__name__}.{name}', data[name], hint)
                  for name, hint in hints.items() if name in data}
        try:
            return cls(**values)
        except TypeError as e:
            raise exception.InvalidInput(
                field=cls.__name__, value='(incomplete)', why=str(e),
                remedy=_SAME_RELEASE) from e

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # type: ignore[call-overload]
