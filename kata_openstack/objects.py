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

"""The data in requests to a node and in its answers: pods, containers, VIFs.

RPC carries them as dictionaries. ``from_dict`` checks the type and the size
of each field, because the values come from tenants. It refuses unknown
fields, wrong types and oversized values with
:class:`~kata_openstack.exception.InvalidInput`.
"""

import dataclasses
import types
import typing
from typing import Any
from typing import Self

from kata_openstack import exception

MAX_STRING = 128 * 1024  # Linux refuses a longer argument (MAX_ARG_STRLEN)
MAX_ITEMS = 4096

_SAME_RELEASE = ('Run the same release of kata-openstack in zun-compute and '
                 'in kata-compute.')

# Types, as an error message names them.
_TYPES = {str: 'a string', int: 'an integer', float: 'a number',
          bool: 'true or false', list: 'a list'}


def _check(field: str, value: Any, hint: Any) -> Any:
    """Return ``value`` in the type of ``hint``.

    :raises InvalidInput: for a wrong type, an oversized value, or a NUL.
    """
    if hint is Any:
        return value
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin is types.UnionType:
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
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif isinstance(hint, type) and issubclass(hint, _Data):
        if isinstance(value, hint):
            return value
        if isinstance(value, dict):
            return hint.from_dict(value)
    elif type(value) is hint:
        if hint is not str or (len(value) <= MAX_STRING
                               and '\0' not in value):
            return value
    why, remedy = _fault(value, origin or hint)
    # an environment holds secrets, and the error reaches logs and Zun
    shown = ('(not shown)' if field.endswith('.environment')
             else _short(value))
    raise exception.InvalidInput(field=field, value=shown, why=why,
                                 remedy=remedy)


def _fault(value: Any, wanted: Any) -> tuple[str, str]:
    """Return the reason why _check() refuses ``value``, and the remedy."""
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


class _Data:
    """A base for dataclasses that convert from and to dictionaries."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """:raises InvalidInput: for an unknown, missing or invalid field."""
        hints = typing.get_type_hints(cls)
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


@dataclasses.dataclass(kw_only=True)
class Route(_Data):
    destination: str  # CIDR
    gateway: str


@dataclasses.dataclass(kw_only=True)
class FixedIP(_Data):
    address: str
    prefixlen: int
    gateway: str | None = None
    routes: list[Route] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(kw_only=True)
class Vif(_Data):
    """A bound Neutron port.

    ``vif_type`` selects the plugin (entry points ``kata_openstack.vif``);
    ``details`` are the port's ``binding:vif_details`` (bridge_name,
    datapath_type, ovs_hybrid_plug, ...).
    """

    port_id: str
    network_id: str
    mac_address: str
    vif_type: str
    mtu: int = 1500
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    fixed_ips: list[FixedIP] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(kw_only=True)
class Container(_Data):
    """One container.

    None for ``entrypoint`` or ``command``: the image's.
    """

    uuid: str
    name: str
    image: str
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    workdir: str | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    cpus: float | None = None
    memory_mib: int | None = None
    tty: bool = False
    stdin: bool = False


@dataclasses.dataclass(kw_only=True)
class Pod(_Data):
    """A sandbox and its containers: a Zun container or a Zun capsule.

    ``uuid``: for a Zun container, also the UUID of its one container.
    ``runtime``: ``kata`` (kata-compute chooses a handler) or the name of a
    handler. ``needs``: keys of :data:`kata_openstack.needs.NEEDS`.
    ``isolation``: the minimum level, one of
    :data:`kata_openstack.needs.ISOLATION`.
    """

    uuid: str
    kind: str  # 'container' or 'capsule'
    project_id: str
    user_id: str
    containers: list[Container]
    hostname: str | None = None
    runtime: str = 'kata'
    needs: list[str] = dataclasses.field(default_factory=list)
    isolation: str = 'none'
    privileged: bool = False
    nameservers: list[str] = dataclasses.field(default_factory=list)
    vifs: list[Vif] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(kw_only=True)
class ContainerStatus(_Data):
    """The state of one container.

    ``state``: created, running, exited or unknown. Times: Unix seconds.
    ``reason`` and ``message`` come from the runtime and explain an exit;
    ``reason`` is for example ``OOMKilled``, ``Error``, ``Completed`` or
    ``StartError``.
    """

    uuid: str
    name: str
    container_id: str
    state: str
    image: str = ''
    exit_code: int | None = None
    reason: str = ''
    message: str = ''
    started_at: float | None = None
    finished_at: float | None = None


@dataclasses.dataclass(kw_only=True)
class PodStatus(_Data):
    """The state of a pod on the node.

    ``ready``: its VM runs. ``handler_reason``: a text that explains the
    choice of the handler. ``created_at``: Unix seconds.
    """

    uuid: str
    kind: str
    sandbox_id: str
    ready: bool
    handler: str
    handler_reason: str = ''
    accelerator: str = ''
    hostname: str = ''
    created_at: float | None = None
    containers: list[ContainerStatus] = dataclasses.field(
        default_factory=list)
