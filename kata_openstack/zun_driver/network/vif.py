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

"""Neutron's ports and networks as Zun's records and as VIFs. Pure."""

from collections.abc import Iterable
import dataclasses
import ipaddress
from typing import Any

from kata_openstack import objects


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """What a port does not say of its network; subnets by id."""

    mtu: int
    subnets: dict[str, dict[str, Any]]


def addresses(port: dict[str, Any], preserve: bool) -> list[dict[str, Any]]:
    return [{'addr': fixed['ip_address'],
             'version': ipaddress.ip_address(fixed['ip_address']).version,
             'port': port['id'],
             'subnet_id': fixed['subnet_id'],
             'preserve_on_delete': preserve}
            for fixed in port['fixed_ips']]


def vif(port: dict[str, Any], network: Network) -> objects.Vif:
    return objects.Vif(
        port_id=port['id'],
        network_id=port['network_id'],
        mac_address=port['mac_address'],
        vif_type=port['binding:vif_type'],
        mtu=network.mtu,
        details=dict(port.get('binding:vif_details') or {}),
        fixed_ips=[_fixed_ip(fixed, network.subnets)
                   for fixed in port['fixed_ips']])


def _fixed_ip(fixed: dict[str, Any],
              subnets: dict[str, dict[str, Any]]) -> objects.FixedIP:
    subnet = subnets.get(fixed['subnet_id'])
    if subnet is None:
        # made between our two questions; a host address still works
        address = ipaddress.ip_address(fixed['ip_address'])
        return objects.FixedIP(address=fixed['ip_address'],
                               prefixlen=address.max_prefixlen)
    return objects.FixedIP(
        address=fixed['ip_address'],
        prefixlen=ipaddress.ip_network(subnet['cidr']).prefixlen,
        gateway=subnet.get('gateway_ip') or None,
        routes=[objects.Route(destination=route['destination'],
                              gateway=route['nexthop'])
                for route in subnet.get('host_routes') or []])


def nameservers(port: dict[str, Any], network: Network) -> list[str]:
    """Those of the subnets that the port has an address of."""
    found: list[str] = []
    for fixed in port['fixed_ips']:
        found += network.subnets.get(fixed['subnet_id'], {}).get(
            'dns_nameservers') or []
    return found


def single_default_route(vifs: Iterable[objects.Vif]) -> None:
    """Per address family, only the first gateway makes a default route."""
    seen = set()
    for each in vifs:
        for fixed in each.fixed_ips:
            if fixed.gateway is None:
                continue
            version = ipaddress.ip_address(fixed.gateway).version
            if version in seen:
                fixed.gateway = None
            seen.add(version)
