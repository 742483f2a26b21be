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

"""The pod's network: each interface of its namespace becomes a NIC.

Each interface gets a tap, and two tc redirects pass the packets between the
two. The guest uses the interface's MAC, addresses, routes and MTU. The tap
passes on offload headers (IFF_VNET_HDR). Packets that leave through the
interface take the normal transmit path, where the kernel fills in checksums
that the interface does not offload. The taps are not persistent: they end
with QEMU.
"""

import dataclasses
import fcntl
import os
import struct
from typing import Any

from kata_openstack.runtime.embedded.common import netlink
from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.vm import qemu

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_ARPHRD_ETHER = 1
_TAP = 'tap{}_kata'


@dataclasses.dataclass
class Network:
    """NICs, and the guest's configuration of each, in the same order."""

    nics: list[qemu.Nic] = dataclasses.field(default_factory=list)
    interfaces: list[dict[str, Any]] = dataclasses.field(
        default_factory=list)

    def close(self) -> None:
        """Close the shim's fds of the taps: QEMU has its own."""
        for nic in self.nics:
            os.close(nic.tap)


def attach(namespace: str) -> Network:
    """Connect the Ethernet interfaces of a network namespace that are up.

    Interfaces after the first qemu.MAX_NICS are left out. Blocks; the
    calling thread is in the namespace during the call.

    :param namespace: path of the namespace.
    :raises OSError: the namespace or a device cannot be used.
    """
    with (open('/proc/thread-self/ns/net') as own,
          open(namespace) as there):
        syscalls.setns(there.fileno(), syscalls.CLONE_NEWNET)
        try:
            return _attach()
        finally:
            syscalls.setns(own.fileno(), syscalls.CLONE_NEWNET)


def _attach() -> Network:
    found = Network()
    with netlink.Netlink() as net:
        addresses, routes = net.addresses(), net.routes()
        for link in net.links():
            if (link['kind'] != _ARPHRD_ETHER
                    or not link['flags'] & netlink.IFF_UP
                    or len(found.nics) == qemu.MAX_NICS):
                continue
            tap = _open_tap(net, _TAP.format(len(found.nics)), link)
            found.nics.append(qemu.Nic(tap=tap, mac=link['mac']))
            found.interfaces.append({
                'name': link['name'], 'mac': link['mac'],
                'mtu': link['mtu'],
                'addresses': _without_index(addresses, link['index']),
                'routes': _without_index(routes, link['index'])})
    return found


def _open_tap(net: netlink.Netlink, name: str, link: dict[str, Any]) -> int:
    fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack(
            '16sH22x', name.encode(),
            _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
        tap = next(item['index'] for item in net.links()
                   if item['name'] == name)
        net.set_link(tap, mtu=link['mtu'])
        net.set_link(tap, up=True)
        for index, to in ((link['index'], tap), (tap, link['index'])):
            net.add_ingress(index)
            net.redirect(index, to)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _without_index(items: list[dict[str, Any]],
                   index: int) -> list[dict[str, Any]]:
    return [{key: value for key, value in item.items() if key != 'index'}
            for item in items if item['index'] == index]
