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

"""The addresses and routes of a pod's interface, in its namespace."""

import ipaddress
from typing import Any

from kata_openstack.compute.network.vif import base
from kata_openstack import objects
from kata_openstack.runtime.embedded.common import netlink

_IPV6_MINIMUM_MTU = 1280  # RFC 8200; below it, Linux turns IPv6 off
_WRONG = 'Correct the subnet in Neutron.'
_NO_IPV6 = ('Check that the kernel of the node supports IPv6: '
            'net.ipv6.conf.default.disable_ipv6 must be 0.')


def configure(net: netlink.Netlink, vif: objects.Vif, index: int) -> None:
    """Set the port's addresses and routes, and the interface up.

    :param net: of the pod's namespace
    :param index: of the interface
    :raises NetworkFailed:

    Neutron has assigned the addresses, so the kernel neither waits nor asks
    on the network whether another host has them.
    """
    interfaces = []
    net.set_link(index, up=True)
    for fixed in vif.fixed_ips:
        with base.explained(vif.port_id, f'address {fixed.address}',
                            _NO_IPV6 if ':' in fixed.address else _WRONG):
            interface = ipaddress.ip_interface(
                f'{fixed.address}/{fixed.prefixlen}')
            if interface.version == 6 and vif.mtu < _IPV6_MINIMUM_MTU:
                raise ValueError(
                    f'IPv6 needs an MTU of at least {_IPV6_MINIMUM_MTU}, but '
                    f'the network has {vif.mtu}')
            net.add_address(index, str(interface.ip), fixed.prefixlen)
            interfaces.append(interface)
    networks = [interface.network for interface in interfaces]
    for fixed in vif.fixed_ips:
        for route in fixed.routes:
            _add_route(net, vif, index, networks, route.destination,
                       route.gateway)
    # Several interfaces may have gateways: the first one is used.
    known = {route['destination'] for route in net.routes()}
    for fixed in vif.fixed_ips:
        default = '::/0' if ':' in (fixed.gateway or '') else '0.0.0.0/0'
        if fixed.gateway and default not in known:
            _add_route(net, vif, index, networks, default, fixed.gateway)
            known.add(default)


def _add_route(net: netlink.Netlink, vif: objects.Vif, index: int,
               networks: list[Any], destination: str, gateway: str) -> None:
    """Add a route; the gateway may lie outside of the port's networks.

    :param networks: those of the port's addresses
    """
    with base.explained(vif.port_id, f'route to {destination} via {gateway}',
                        _WRONG):
        network = ipaddress.ip_network(destination)
        hop = ipaddress.ip_address(gateway)
        if hop.version != network.version:
            raise ValueError('one is IPv4, the other is IPv6')
        if hop.is_unspecified:  # this means: without a gateway
            net.add_route(index, str(network))
            return
        local = (hop.version == 6 and hop.is_link_local
                 or any(hop in each for each in networks))
        net.add_route(index, str(network), str(hop), onlink=not local)
