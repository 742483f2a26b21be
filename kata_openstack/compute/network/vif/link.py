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

"""The interfaces of pods: a veth from the host into the pod's namespace.

All values go to the kernel in binary netlink messages, never through a
command line: they come from a request.
"""

from collections.abc import Callable
import contextlib
import ctypes
import errno
import fcntl
import socket
import struct
import threading

from kata_openstack.compute.network.vif import addressing
from kata_openstack.compute.network.vif import base
from kata_openstack import objects
from kata_openstack.runtime.embedded.common import netlink
from kata_openstack.runtime.embedded.common import syscalls

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17

# Attributes of links: include/uapi/linux/if_link.h and veth.h
_ADDRESS, _NAME, _MTU, _MASTER, _INFO, _ALIAS, _NETNS = 1, 3, 4, 10, 18, 20, 28
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_PEER = 1
_ANY = netlink.LINK.pack(0, 0, 0, 0, 0)


class _Links(netlink.Netlink):
    """The links of the host's namespace."""

    def find(self, name: str) -> tuple[int, str] | None:
        """Return index and alias of a link, None if it does not exist."""
        try:
            body, = self.request(netlink.GETLINK, netlink.ACK,
                                 _ANY + _text(_NAME, name))
        except OSError as e:
            if e.errno == errno.ENODEV:
                return None
            raise
        _, _, index, _, _ = netlink.LINK.unpack_from(body)
        found = netlink.attributes(body[netlink.LINK.size:])
        return index, found.get(_ALIAS, b'').rstrip(b'\0').decode()

    def change(self, index: int, attributes: bytes) -> None:
        self.do(netlink.NEWLINK, 0,
                netlink.LINK.pack(0, 0, index, 0, 0) + attributes)

    def remove(self, name: str) -> None:
        """Remove a link; a missing one is not an error."""
        try:
            self.do(netlink.DELLINK, 0, _ANY + _text(_NAME, name))
        except OSError as e:
            if e.errno != errno.ENODEV:
                raise

    def add_veth(self, name: str, mtu: int, namespace: int, peer: str,
                 peer_mac: str) -> None:
        """Add a veth whose peer is in another namespace from the start.

        So this namespace never has an interface called eth0.

        :param namespace: an open file descriptor
        """
        other = (_ANY + _text(_NAME, peer) + netlink.number(_MTU, mtu)
                 + netlink.attribute(_ADDRESS,
                                     bytes.fromhex(peer_mac.replace(':', '')))
                 + netlink.number(_NETNS, namespace))
        info = (netlink.attribute(_INFO_KIND, b'veth')
                + netlink.attribute(_INFO_DATA,
                                    netlink.attribute(_VETH_PEER, other)))
        self.do(netlink.NEWLINK, netlink.CREATE | netlink.EXCL,
                _ANY + _text(_NAME, name) + netlink.number(_MTU, mtu)
                + netlink.attribute(_INFO, info))


def _text(kind: int, value: str) -> bytes:
    return netlink.attribute(kind, value.encode() + b'\0')


def exists(device: str) -> bool:
    return any(name == device for _, name in socket.if_nameindex())


def alias(device: str) -> str:
    """Return the ID of the sandbox that owns a host interface, or ''."""
    with _Links() as links:
        found = links.find(device)
    return found[1] if found else ''


def traffic(device: str) -> tuple[int, int]:
    """Return the bytes (received, sent) by the pod, read at the host's end.

    The host sends the bytes that the pod receives, and vice versa.
    """
    # "name: bytes packets ...": eight columns for received, then for sent
    with open('/proc/thread-self/net/dev') as lines:
        for line in lines:
            name, colon, figures = line.partition(':')
            if colon and name.strip() == device:
                columns = figures.split()
                return int(columns[8]), int(columns[0])
    return 0, 0


def delete(what: str, device: str) -> None:
    """Delete a veth and so its peer; a missing device is not an error.

    :param what: pod or port, for the error
    :raises NetworkFailed:
    """
    with base.explained(what, f'cannot delete {device}'), _Links() as links:
        links.remove(device)


def set_master(what: str, device: str, bridge: str) -> None:
    """Make a device a port of a Linux bridge. :raises NetworkFailed:"""
    with (base.explained(what, f'cannot add {device} to bridge {bridge}'),
          _Links() as links):
        links.change(_index(device), netlink.number(_MASTER, _index(bridge)))


def create_pair(vif: objects.Vif, device: str, netns: str, ifname: str, *,
                owner: str, tx_offload: bool) -> None:
    """Create a veth: ``device`` here, ``ifname`` in the namespace, both up.

    ``ifname`` gets the port's addresses and routes.

    :param owner: alias of the host's end
    :param tx_offload: let the pod leave checksums to hardware. Must be off
        if a program reads the host's end: the userspace datapath passes
        packets on without a checksum, and TCP hangs.
    :raises NetworkFailed:
    """
    delete(vif.port_id, device)

    def configure() -> None:
        with netlink.Netlink() as net:
            for link in net.links():
                if link['flags'] & netlink.IFF_LOOPBACK:
                    net.set_link(link['index'], up=True)
            addressing.configure(net, vif, _index(ifname))
        if not tx_offload:
            _tx_checksum_off(ifname)

    try:
        with base.explained(vif.port_id, f'cannot create {device}'):
            with _Links() as links, open(netns) as namespace:
                links.add_veth(device, vif.mtu, namespace.fileno(), ifname,
                               vif.mac_address)
                index = _index(device)
                links.change(index, _text(_ALIAS, owner))
                _keep_host_out(device)
                in_namespace(netns, configure)
                links.set_link(index, up=True)
    except BaseException:
        delete(vif.port_id, device)
        raise


def _index(device: str) -> int:
    """:raises OSError: if the device does not exist"""
    return socket.if_nametoindex(device)


# Settings of the host's end, which only passes packets to the switch.
_SETTINGS = (
    # Else the host would have an address there, would send its own packets
    # into the pod, and would believe its router advertisements.
    ('ipv6', 'disable_ipv6', '1'),
    # A switch in user space reads a copy of each packet, and the kernel of the
    # host gets the packet too: a pod could reach the node's services past all
    # security groups. No route leads to this interface, so that a strict
    # check of the source refuses all packets,
    ('ipv4', 'rp_filter', '1'),
    # and the host answers no question for its addresses.
    ('ipv4', 'arp_ignore', '8'))


def _keep_host_out(device: str) -> None:
    """Keep the kernel of the host from taking part in the pod's network."""
    for family, name, value in _SETTINGS:
        with (contextlib.suppress(FileNotFoundError),  # a kernel without it
              open(f'/proc/sys/net/{family}/conf/{device}/{name}', 'w')
              as setting):
            setting.write(value)


def _tx_checksum_off(ifname: str) -> None:
    """``ethtool -K IFNAME tx off``, in this thread's namespace."""
    value = ctypes.create_string_buffer(
        struct.pack('=II', _ETHTOOL_STXCSUM, 0))
    request = struct.pack('16sP', ifname.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request.ljust(40, b'\0'))


def in_namespace(netns: str, function: Callable[[], None]) -> None:
    """Call a function in a network namespace, in a new thread.

    :raises NetworkFailed: if the namespace cannot be entered
    """
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            with (base.explained(
                    netns, 'cannot enter the network namespace',
                    'Run kata-compute as root, in the same mount namespace '
                    'as containerd.'), open(netns) as handle):
                syscalls.setns(handle.fileno(), syscalls.CLONE_NEWNET)
            function()
        except BaseException as e:
            outcome.append(e)

    thread = threading.Thread(target=work, name='netns', daemon=True)
    thread.start()
    thread.join()
    if outcome:
        raise outcome[0]
