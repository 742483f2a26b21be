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

RPC carries them as dictionaries; ``from_dict`` checks them, see
:mod:`kata_openstack.schema`.
"""

import dataclasses
from typing import Annotated
from typing import Any

from kata_openstack import needs as needs_module
from kata_openstack import schema

# The trait of a node that runs pods; those of its hypervisors begin with it
# and an underscore.
TRAIT = 'CUSTOM_KATA'


def is_our_trait(name: str) -> bool:
    return name == TRAIT or name.startswith(f'{TRAIT}_')


@dataclasses.dataclass(kw_only=True)
class Route(schema.Data):
    destination: schema.Cidr
    gateway: schema.Address


@dataclasses.dataclass(kw_only=True)
class FixedIP(schema.Data):
    address: schema.Address
    prefixlen: Annotated[int, schema.between(0, 128)]
    gateway: schema.Address | None = None
    routes: list[Route] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(kw_only=True)
class Vif(schema.Data):
    """A bound Neutron port.

    ``vif_type`` selects the plugin (entry points ``kata_openstack.vif``);
    ``details`` are the port's ``binding:vif_details`` (bridge_name,
    datapath_type, ovs_hybrid_plug, ...).
    """

    port_id: schema.Uuid
    network_id: schema.Uuid
    mac_address: schema.Mac
    vif_type: schema.Word
    mtu: Annotated[int, schema.between(68, 65535)] = 1500
    details: Annotated[dict[str, Any], schema.Rule(
        lambda value: len(repr(value)) <= schema.MAX_DETAILS,
        f'at most {schema.MAX_DETAILS} characters')] = dataclasses.field(
            default_factory=dict)
    fixed_ips: list[FixedIP] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(kw_only=True)
class Credentials(schema.Data):
    """The credentials for a registry.

    ``shared``: they are the operator's, and serve all projects.
    """

    username: str
    password: str
    server: str = ''
    shared: bool = False


@dataclasses.dataclass(kw_only=True)
class HealthCheck(schema.Data):
    """A command that tells whether a container works, as in Docker.

    ``test``: for ``/bin/sh -c``. ``interval``, ``timeout``: seconds.
    ``retries``: after so many failures in a row it is unhealthy.
    """

    test: Annotated[str, schema.matches('(?s).{1,4096}',
                                        'a command of 1 to 4096 characters')]
    interval: Annotated[int, schema.between(1, 86400, ' seconds')] = 30
    timeout: Annotated[int, schema.between(1, 120, ' seconds')] = 30
    retries: Annotated[int, schema.between(1, 1000)] = 3


@dataclasses.dataclass(kw_only=True)
class Container(schema.Data):
    """One container.

    None for ``entrypoint`` or ``command``: the image's. ``restart``: when the
    node starts it again in its pod, see
    :mod:`kata_openstack.compute.restarts.policy`. ``init``: it must end well
    before the next container of the pod starts.
    """

    uuid: schema.Uuid
    name: str
    image: str
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    workdir: str | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    cpus: Annotated[float, schema.between(0, 2 ** 16)] | None = None
    memory_mib: Annotated[int, schema.between(0, 2 ** 40, ' MiB')] | None = None
    disk_gib: Annotated[int, schema.between(0, 2 ** 20, ' GiB')] | None = None
    tty: bool = False
    stdin: bool = False
    health: HealthCheck | None = None
    restart: Annotated[str, schema.matches(
        '|no|always|on-failure(:[0-9]{1,9})?',
        'no, always, on-failure or on-failure:N')] = ''
    init: bool = False


@dataclasses.dataclass(kw_only=True)
class Pod(schema.Data):
    """A sandbox and its containers: a Zun container or a Zun capsule.

    ``uuid``: for a Zun container, also the UUID of its one container.
    ``runtime``: ``kata`` (kata-compute chooses a handler) or the name of a
    handler. ``needs``: keys of :data:`kata_openstack.needs.NEEDS`.
    ``isolation``: the minimum level, one of
    :data:`kata_openstack.needs.ISOLATION`.
    """

    uuid: schema.Uuid
    kind: Annotated[str, schema.one_of('container', 'capsule')]
    project_id: schema.Owner
    user_id: schema.Owner
    containers: list[Container]
    hostname: str | None = None
    runtime: str = 'kata'
    needs: list[str] = dataclasses.field(default_factory=list)
    isolation: Annotated[str, schema.one_of(*needs_module.ISOLATION)] = 'none'
    privileged: bool = False
    nameservers: list[str] = dataclasses.field(default_factory=list)
    search_domains: list[schema.Domain] = dataclasses.field(
        default_factory=list)
    vifs: list[Vif] = dataclasses.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Leave out what a node of an older release would refuse."""
        data = super().to_dict()
        for container in data['containers']:
            for name in ('health', 'restart', 'init'):
                if not container[name]:
                    del container[name]
        return data


@dataclasses.dataclass(kw_only=True)
class ContainerStatus(schema.Data):
    """The state of one container.

    ``state``: created, running, paused, exited or unknown. Times: Unix seconds.
    ``reason`` and ``message`` come from the runtime and explain an exit;
    ``reason`` is for example ``OOMKilled``, ``Error``, ``Completed`` or
    ``StartError``. ``health``, of a running container with a health check, is
    ``health: starting``, ``healthy`` or ``unhealthy``; the last two may end
    with the failures in a row, for example ``unhealthy, 3 failed``.
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
    health: str = ''


@dataclasses.dataclass(kw_only=True)
class PodStatus(schema.Data):
    """The state of a pod on the node.

    ``ready``: its VM runs. ``handler_reason``: a text that explains the
    choice of the handler. ``created_at``: Unix seconds. ``problem``: why the
    node could not restart its containers last.
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
    problem: str = ''
    containers: list[ContainerStatus] = dataclasses.field(
        default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Leave out what a driver of an older release would refuse."""
        data = super().to_dict()
        for container in data['containers']:
            if not container['health']:
                del container['health']
        if not data['problem']:
            del data['problem']
        return data
