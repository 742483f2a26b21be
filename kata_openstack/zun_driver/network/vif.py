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

"""Convert Neutron's ports and networks to Zun's addresses and to VIFs.

Pure functions: they send no requests.
"""

from collections.abc import Iterable
import dataclasses
import ipaddress
from typing import Any

from zun.common import consts

from kata_openstack import objects


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """The properties of a network that its ports lack.

    ``subnets``: by ID. ``dhcp_servers``: addresses by subnet ID.
    ``dns_domain``: with the final dot; may be empty.
    """

    mtu: int
    subnets: dict[str, dict[str, Any]]
    dns_domain: str = ''
    dhcp_servers: dict[str, list[str]] = dataclasses.field(
        default_factory=dict)


def port_name(uuid: str) -> str:
    """Return the name of the ports that we create for a pod.

    The name marks a port as ours: release() deletes it.
    """
    return f'{consts.NAME_PREFIX}{uuid}'


def addresses(port: dict[str, Any], preserve: bool) -> list[dict[str, Any]]:
    """Return the addresses of a port, as Zun's records store them.

    :param preserve: whether the port is the user's, and must not be deleted.
    """
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
        # The subnet was created after our request for the subnets. A host
        # address (/32, /128) still works.
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
    """Return the DNS servers of the port's subnets.

    For a subnet without any: its DHCP servers of Neutron, which are also DNS
    servers. In Neutron, the server 0.0.0.0 or :: means that a subnet shall
    have none. A loopback address would be the container itself.
    """
    found: list[str] = []
    for fixed in port['fixed_ips']:
        subnet = fixed['subnet_id']
        servers = (network.subnets.get(subnet, {}).get('dns_nameservers')
                   or network.dhcp_servers.get(subnet) or [])
        found += [each for each in servers if _is_usable(each)]
    return found


def _is_usable(server: str) -> bool:
    address = ipaddress.ip_address(server)
    return not (address.is_loopback or address.is_unspecified)


def dhcp_servers(ports: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the addresses of Neutron's DHCP servers, by subnet ID.

    :param ports: those of a network that belong to DHCP.
    """
    found: dict[str, list[str]] = {}
    for port in ports:
        # No DNS server answers at these: a port that Neutron keeps for the
        # next DHCP agent of the network, and that of OVN's metadata agent.
        if not (port.get('device_id') or '').startswith(
                ('reserved_dhcp_port', 'ovnmeta-')):
            for fixed in port['fixed_ips']:
                found.setdefault(fixed['subnet_id'], []).append(
                    fixed['ip_address'])
    return found


def single_default_route(vifs: Iterable[objects.Vif]) -> None:
    """Keep only the first gateway of each address family.

    A pod can have one default route for each.
    """
    seen = set()
    for each in vifs:
        for fixed in each.fixed_ips:
            if fixed.gateway is None:
                continue
            version = ipaddress.ip_address(fixed.gateway).version
            if version in seen:
                fixed.gateway = None
            seen.add(version)
