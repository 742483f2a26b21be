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

"""What the Zun driver asks of a node: pods, containers, VIFs, as plain data.

The driver fills these, RPC carries them as dictionaries, kata-compute reads
them back. Every field is typed and bounded here, once, because the values
come from tenants: ``from_dict`` refuses unknown fields, wrong types and
oversized values with :class:`~kata_openstack.exception.InvalidInput`.
"""

import dataclasses
import types
import typing
from typing import Any
from typing import Self

from kata_openstack import exception

MAX_STRING = 128 * 1024  # Linux refuses a longer argument (MAX_ARG_STRLEN)
MAX_ITEMS = 4096


def _check(field: str, value: Any, hint: Any) -> Any:
    """Return ``value`` as ``hint`` wants it, or raise InvalidInput."""
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
    raise exception.InvalidInput(
        field=field, value=_short(value),
        why=f'it must be {getattr(hint, "__name__", hint)}',
        remedy=f'At most {MAX_STRING} characters or {MAX_ITEMS} items, '
               'without NUL.')


def _short(value: Any) -> str:
    """A tenant's value may be huge, and may be a secret of an environment."""
    text = str(value)
    return text if len(text) <= 32 else text[:32] + '...'


class _Data:
    """Dictionaries in and out, for dataclasses."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """:raises InvalidInput: for an unknown, missing or unfit field."""
        hints = typing.get_type_hints(cls)
        unknown = sorted(set(data) - set(hints))
        if unknown:
            raise exception.InvalidInput(
                field=cls.__name__, value=unknown[0],
                why='no such field is known',
                remedy='Run the same release of kata-openstack in '
                       'zun-compute and in kata-compute.')
        values = {name: _check(f'{cls.__name__}.{name}', data[name], hint)
                  for name, hint in hints.items() if name in data}
        try:
            return cls(**values)
        except TypeError as e:
            raise exception.InvalidInput(
                field=cls.__name__, value='(incomplete)', why=str(e),
                remedy='Give every field without a default.') from e

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
    """A bound Neutron port, as the node needs it.

    ``vif_type`` names the plugin (entry points ``kata_openstack.vif``);
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
    """One container. None for entrypoint or command: as in the image."""

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
    """A sandbox and what runs in it: a Zun container or a Zun capsule.

    For a Zun container, ``uuid`` equals the uuid of its one container.
    ``runtime``: ``kata`` (choose for me) or a handler name. ``needs``:
    requirement names of :data:`kata_openstack.needs.NEEDS`.
    ``isolation``: the least, of :data:`kata_openstack.needs.ISOLATION`.
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
    """state: created, running, exited or unknown. Times: Unix seconds.

    ``reason`` and ``message`` are the runtime's words for an exit
    (``OOMKilled``, ``Error``, ``Completed``, ``StartError``).
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
    """What the node knows of a pod. ``ready``: its VM runs.

    ``handler_reason`` says in words why this handler was chosen.
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
