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

"""What the driver keeps in ``cni_metadata`` of a Zun record.

``kata`` has the data for later starts, which then send no request to Neutron.
``kata_requested`` has the user's request, for rebuilds: Zun's own fields later
hold the result instead, such as the image's command and the chosen handler.
The request outlives the pod.
"""

import dataclasses
from typing import Any

from oslo_log import log as logging
from zun.common import consts

from kata_openstack import exception
from kata_openstack import objects
from kata_openstack import stored

LOG = logging.getLogger(__name__)
_KEPT = 'kata'
_REQUESTED = 'kata_requested'


@dataclasses.dataclass(kw_only=True)
class Kept:
    image: str  # full reference
    vifs: list[objects.Vif]
    nameservers: list[str] = dataclasses.field(default_factory=list)
    search_domains: list[str] = dataclasses.field(default_factory=list)
    image_labels: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(kw_only=True)
class RequestedNetwork:
    network: str
    port: str = ''  # a port of the user
    fixed_ip: str = ''


@dataclasses.dataclass(kw_only=True)
class Requested:
    command: list[str] = dataclasses.field(default_factory=list)
    entrypoint: list[str] = dataclasses.field(default_factory=list)
    runtime: str | None = None
    networks: list[RequestedNetwork] = dataclasses.field(default_factory=list)


def kind(record: Any) -> str:
    return ('capsule' if record.container_type == consts.TYPE_CAPSULE
            else 'container')


def keep(record: Any, kept: Kept) -> None:
    record.cni_metadata = {**(record.cni_metadata or {}),
                           _KEPT: dataclasses.asdict(kept)}


def load(record: Any) -> Kept:
    """:raises NotFound: if the container was not created
    :raises InvalidInput: if the stored data cannot be read
    """
    kept = (record.cni_metadata or {}).get(_KEPT)
    if not kept:
        raise exception.NotFound(kind=kind(record), id=record.uuid)
    try:
        return stored.load(Kept, kept)
    except ValueError as e:
        raise exception.InvalidInput(
            field='cni_metadata of container', value=record.uuid, why=e,
            remedy='Rebuild the container, or delete it and create it '
                   'again.') from e


def forget(record: Any) -> None:
    """Drop what belongs to a pod that is gone.

    Zun does not save the value None.
    """
    record.cni_metadata = {key: value for key, value
                           in (record.cni_metadata or {}).items()
                           if key != _KEPT}


def resolve(record: Any, passed: list[dict[str, Any]]
            ) -> list[dict[str, Any]]:
    """Write the user's request into ``record``, before each create.

    The first create stores it, a rebuild restores it. Zun passes only one
    port of each network to a rebuild, and none after a first start that
    failed, so a rebuild takes the networks from the record.

    :param passed: the networks that Zun passes
    :returns: the networks to attach, in the same form
    :raises Conflict: for a rebuild of a container that is on no node. Zun
        sends it to any, and no allocation in Placement belongs to it.
    """
    asked = _requested(record)
    if asked is None:
        _store(record, passed)
        return passed
    if record.host is None:
        raise exception.Conflict(
            kind='Container', id=record.uuid,
            state='on no node, because its creation failed',
            remedy='Delete it and create it again.')
    record.entrypoint = list(asked.entrypoint)
    record.command = list(asked.command)
    record.runtime = asked.runtime
    return _ports(record, asked) or [
        _network(each.network, each.port, each.fixed_ip)
        for each in asked.networks]


def _requested(record: Any) -> Requested | None:
    """:returns: None before the first create, or if nothing can be read"""
    asked = (record.cni_metadata or {}).get(_REQUESTED)
    if asked is None:
        return None
    try:
        return stored.load(Requested, asked)
    except ValueError as e:
        LOG.warning('Rebuilding container %s from its current settings, '
                    'because its original request cannot be read: %s',
                    record.uuid, e)
        return None


def _store(record: Any, networks: list[dict[str, Any]]) -> None:
    asked = Requested(
        command=list(record.command or []),
        entrypoint=list(record.entrypoint or []), runtime=record.runtime,
        networks=[RequestedNetwork(
            network=net['network'],
            port=net.get('port', '') if net.get('preserve_on_delete') else '',
            fixed_ip=net.get('fixed_ip') or '') for net in networks])
    record.cni_metadata = {**(record.cni_metadata or {}),
                           _REQUESTED: dataclasses.asdict(asked)}


def _ports(record: Any, asked: Requested) -> list[dict[str, Any]]:
    """Return the networks with the ports that the record still has."""
    supplied = {each.port for each in asked.networks}
    ports = {addr['port']: network
             for network, addrs in (record.addresses or {}).items()
             for addr in addrs}
    return [_network(network, port, preserve=port in supplied)
            for port, network in ports.items()]


def _network(network: str, port: str, fixed_ip: str = '',
             preserve: bool | None = None) -> dict[str, Any]:
    """Return a network in Zun's form.

    With ``recheck``, ports.py checks the user's rights again.

    :param preserve: whether the port is the user's; default: if given
    """
    return {'network': network, 'port': port, 'fixed_ip': fixed_ip,
            'preserve_on_delete': bool(port) if preserve is None
            else preserve, 'recheck': True}
