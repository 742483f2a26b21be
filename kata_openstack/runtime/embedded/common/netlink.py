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

"""The part of rtnetlink that a pod needs, for shim, agent and kata-compute.

pyroute2 takes 0.4 s and 35 MB to import, too much for a process per pod,
and the guest image has no room for it. Its calls for namespaces fork, which
kata-compute must not: it has threads and uses gRPC.

Layouts and numbers are those of the kernel's include/uapi/linux/{netlink,
rtnetlink,if_link,if_addr,pkt_sched,pkt_cls}.h. All functions work in the
network namespace in which their :class:`Netlink` was opened, and raise
:class:`OSError` with the kernel's error.
"""

from collections.abc import Iterator
import errno
import os
import socket
import struct
from typing import Any
from typing import Final
from typing import Self

_REQUEST, _DUMP = 1, 0x300
ACK: Final = 4
CREATE: Final = 0x400
EXCL: Final = 0x200
_REPLACE = 0x100
_ERROR, _DONE = 2, 3

NEWLINK: Final = 16
DELLINK: Final = 17
GETLINK: Final = 18
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _GETROUTE = 24, 26
_NEWQDISC, _DELQDISC, _NEWTFILTER = 36, 37, 44

IFF_UP: Final = 1
IFF_LOOPBACK: Final = 8
_IFA_F_NODAD = 2
_IFA_F_PERMANENT = 0x80
_RT_TABLE_MAIN = 254
_RTN_UNICAST = 1
_RTPROT_KERNEL, _RTPROT_BOOT, _RTPROT_RA = 2, 3, 9
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 0, 253
_RTNH_F_ONLINK = 4

_TC_H_INGRESS = 0xFFFFFFF1
_INGRESS_HANDLE = 0xFFFF0000
_ETH_P_ALL = 3
_TC_ACT_STOLEN = 4
_TCA_EGRESS_REDIR = 1

_HEADER = struct.Struct('=IHHII')
LINK: Final = struct.Struct('=BxHiII')
_ADDRESS = struct.Struct('=BBBBI')
_ROUTE = struct.Struct('=BBBBBBBBI')
_TC = struct.Struct('=BxxxiIII')
_ATTRIBUTE = struct.Struct('=HH')


def attribute(kind: int, value: bytes) -> bytes:
    data = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return data + bytes(-len(data) % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack('=I', value))


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[_ATTRIBUTE.size:length]
        data = data[(length + 3) & ~3:]
    return found


def _family(address: str) -> tuple[int, bytes]:
    # not ipaddress, which is pure Python and slow in an emulated guest
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def _text(packed: bytes) -> str:
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed)


class Netlink:
    """A NETLINK_ROUTE socket; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def request(self, kind: int, flags: int,
                payload: bytes) -> Iterator[bytes]:
        self._sequence += 1
        self._socket.send(_HEADER.pack(
            _HEADER.size + len(payload), kind, _REQUEST | flags,
            self._sequence, 0) + payload)
        while True:
            data = self._socket.recv(256 * 1024)
            while data:
                length, got, _, sequence, _ = _HEADER.unpack_from(data)
                body, data = (data[_HEADER.size:length],
                              data[(length + 3) & ~3:])
                if sequence != self._sequence:
                    continue
                if got == _ERROR:
                    code = -struct.unpack_from('=i', body)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                if got == _DONE:
                    return
                yield body

    def do(self, kind: int, flags: int, payload: bytes) -> None:
        for _ in self.request(kind, flags | ACK, payload):
            pass

    # Links

    def links(self) -> list[dict[str, Any]]:
        """Return index, name, kind, flags, mac and mtu of each link.

        ``kind`` is an ARPHRD_* number; ``mac`` is '' if there is none.
        """
        found = []
        for body in self.request(GETLINK, _DUMP,
                                 LINK.pack(0, 0, 0, 0, 0)):
            _, kind, index, flags, _ = LINK.unpack_from(body)
            attrs = attributes(body[LINK.size:])
            found.append({
                'index': index, 'kind': kind, 'flags': flags,
                'name': attrs[3].rstrip(b'\0').decode(),
                'mac': attrs.get(1, b'').hex(':'),
                'mtu': struct.unpack('=I', attrs[4])[0]})
        return found

    def set_link(self, index: int, *, name: str = '', mtu: int = 0,
                 up: bool = False) -> None:
        attrs = b''
        if name:
            attrs += attribute(3, name.encode() + b'\0')
        if mtu:
            attrs += number(4, mtu)
        flags = IFF_UP if up else 0
        self.do(NEWLINK, 0, LINK.pack(0, 0, index, flags, flags) + attrs)

    # Addresses

    def addresses(self) -> list[dict[str, Any]]:
        """Return index, address and prefixlen of each address.

        Only addresses of global scope: link-local ones are left out, and
        those that the kernel made from a router advertisement.
        """
        found = []
        for body in self.request(_GETADDR, _DUMP,
                                 _ADDRESS.pack(0, 0, 0, 0, 0)):
            family, prefixlen, flags, scope, index = _ADDRESS.unpack_from(
                body)
            attrs = attributes(body[_ADDRESS.size:])
            packed = attrs.get(2) or attrs.get(1)  # IFA_LOCAL, IFA_ADDRESS
            if (packed and scope == _RT_SCOPE_UNIVERSE
                    and (family == socket.AF_INET
                         or flags & _IFA_F_PERMANENT)):
                found.append({'index': index, 'address': _text(packed),
                              'prefixlen': prefixlen})
        return found

    def add_address(self, index: int, address: str, prefixlen: int) -> None:
        family, packed = _family(address)
        attrs = attribute(2, packed) + attribute(1, packed)
        flags = 0
        if family == socket.AF_INET6:
            flags = _IFA_F_NODAD  # Neutron gives each address only once
        elif prefixlen < 31:
            broadcast = (int.from_bytes(packed, 'big')
                         | (1 << 32 - prefixlen) - 1)
            attrs += attribute(4, broadcast.to_bytes(4, 'big'))
        self.do(_NEWADDR, CREATE | _REPLACE,
                _ADDRESS.pack(family, prefixlen, flags, 0, index) + attrs)

    # Routes

    def routes(self) -> list[dict[str, Any]]:
        """Return index, destination, gateway, metric, onlink of each route.

        ``destination`` is a CIDR; ``gateway`` is '' if there is none. Only
        unicast routes of the main table with one next hop. Leaves out the
        routes that the kernel made by itself, from an address or a router
        advertisement: the guest's kernel makes them again.
        """
        found = []
        for family, width in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
            for body in self.request(
                    _GETROUTE, _DUMP,
                    _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
                (got, dst_len, _, _, table, protocol, _, kind,
                 flags) = _ROUTE.unpack_from(body)
                attrs = attributes(body[_ROUTE.size:])
                if (got != family or table != _RT_TABLE_MAIN
                        or kind != _RTN_UNICAST or 4 not in attrs
                        or protocol in (_RTPROT_KERNEL, _RTPROT_RA)):
                    continue
                network = _text(attrs.get(1, bytes(width)))
                found.append({
                    'index': struct.unpack('=I', attrs[4])[0],
                    'destination': f'{network}/{dst_len}',
                    'gateway': _text(attrs[5]) if 5 in attrs else '',
                    'metric': struct.unpack('=I', attrs[6])[0]
                    if 6 in attrs else 0,
                    'onlink': bool(flags & _RTNH_F_ONLINK)})
        return found

    def add_route(self, index: int, destination: str, gateway: str = '',
                  metric: int = 0, onlink: bool = False) -> None:
        network, _, length = destination.partition('/')
        family, packed = _family(network)
        attrs = number(4, index)
        if int(length):
            attrs += attribute(1, packed)
        if gateway:
            attrs += attribute(5, _family(gateway)[1])
        if metric:
            attrs += number(6, metric)
        scope = _RT_SCOPE_UNIVERSE if gateway else _RT_SCOPE_LINK
        if family == socket.AF_INET6:
            scope = _RT_SCOPE_UNIVERSE
        self.do(_NEWROUTE, CREATE | _REPLACE, _ROUTE.pack(
            family, int(length), 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT,
            scope, _RTN_UNICAST, _RTNH_F_ONLINK if onlink else 0) + attrs)

    # Traffic control

    def add_ingress(self, index: int) -> None:
        """Replace the interface's ingress qdisc by an empty one."""
        message = _TC.pack(0, index, _INGRESS_HANDLE, _TC_H_INGRESS, 0)
        try:
            self.do(_DELQDISC, 0, message)
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.EINVAL):
                raise
        self.do(_NEWQDISC, CREATE | EXCL,
                message + attribute(1, b'ingress\0'))

    def redirect(self, index: int, to: int) -> None:
        """Send every packet that arrives on ``index`` out through ``to``.

        Uses a u32 filter that matches every packet, because some kernels
        are built without matchall, and a mirred action.
        """
        selector = struct.pack('=BBBxHHhhIIIii', 1, 0, 1, 0, 0, 0, 0, 0,
                               0, 0, 0, 0)
        mirred = struct.pack('=IIiiiiI', 0, 0, _TC_ACT_STOLEN, 0, 0,
                             _TCA_EGRESS_REDIR, to)
        action = attribute(1, b'mirred\0') + attribute(2, attribute(2, mirred))
        options = attribute(5, selector) + attribute(7, attribute(1, action))
        info = 1 << 16 | socket.htons(_ETH_P_ALL)
        self.do(_NEWTFILTER, CREATE | EXCL,
                _TC.pack(0, index, 0, _INGRESS_HANDLE, info)
                + attribute(1, b'u32\0') + attribute(2, options))
