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

"""Interfaces and namespaces, by iproute2.

iproute2 rather than pyroute2: this process has threads and gRPC in it, so
it must not fork, and pyroute2's namespace calls do, or keep an event loop of
their own; its API also changed between the releases that
OpenStack has. One ip -batch takes about 5 ms.
"""

from collections.abc import Callable
import ctypes
import fcntl
import ipaddress
import json
import os
import socket
import struct
import subprocess
import threading
from typing import Any

from kata_openstack import exception
from kata_openstack import objects

_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


def run(what: str, *command: str, timeout: int,
        stdin: str | None = None) -> str:
    """Run a program and return what it prints.

    Not by oslo.concurrency: its preexec_fn has Python call fork, and gRPC
    then breaks. Without one, subprocess calls vfork.

    :param what: pod or port, for the error
    :param timeout: seconds
    :raises NetworkFailed: with the program's own words
    """
    why, remedy = '', "See kata-compute's log on the node."
    try:
        done = subprocess.run(command, input=stdin, text=True,
                              capture_output=True, timeout=timeout)
        if done.returncode == 0:
            return done.stdout
        why = ' '.join((done.stderr or done.stdout).split())
    except subprocess.TimeoutExpired:
        why = f'it took longer than {timeout} s'
    except FileNotFoundError:
        why = 'it is not installed'
        remedy = 'Install iproute2 and openvswitch-switch on the node.'
    raise exception.NetworkFailed(id=what, why=f'{command[0]}: {why}',
                                  remedy=remedy)


def exists(device: str) -> bool:
    return any(name == device for _, name in socket.if_nameindex())


def alias(device: str, timeout: int = 30) -> str:
    """The sandbox that the host's interface belongs to; '' if none."""
    if not exists(device):
        return ''
    try:
        shown = run(device, 'ip', '-json', 'link', 'show', device,
                    timeout=timeout)
    except exception.NetworkFailed:  # gone since
        return ''
    return json.loads(shown)[0].get('ifalias', '')


def traffic(device: str) -> tuple[int, int]:
    """Bytes that went (into, out of) the pod through the host's end."""
    # "name: bytes packets ..." received first, eight columns, then sent
    with open('/proc/thread-self/net/dev') as lines:
        for line in lines:
            name, colon, figures = line.partition(':')
            if colon and name.strip() == device:
                columns = figures.split()
                return int(columns[8]), int(columns[0])
    return 0, 0


def delete(what: str, device: str, timeout: int) -> None:
    """And so its peer. No such device is fine."""
    if exists(device):
        try:
            run(what, 'ip', 'link', 'delete', device, timeout=timeout)
        except exception.NetworkFailed:
            if exists(device):  # the namespace's end took it along
                raise


def create_pair(vif: objects.Vif, device: str, netns: str, ifname: str, *,
                owner: str, tx_offload: bool, timeout: int) -> None:
    """A veth: ``device`` here, up, and ``ifname`` with addresses there.

    :param owner: alias of the host's end
    :param tx_offload: let the pod leave checksums to hardware. It must not
        when the host's end is read by a program: the userspace datapath
        passes packets on as they are, and TCP hangs.
    :raises NetworkFailed:
    """
    delete(vif.port_id, device, timeout)
    # Made inside, then pushed out: so there is never an interface called
    # eth0 in the host's namespace.
    inside = [
        f'link add {ifname} address {vif.mac_address} mtu {vif.mtu} '
        f'type veth peer name {device} mtu {vif.mtu}',
        f'link set {device} alias {owner}',
        f'link set {device} netns {os.getpid()}',
        'link set lo up',
        f'link set {ifname} up',
        *_addresses(vif, ifname),
    ]

    def configure() -> None:
        run(vif.port_id, 'ip', '-batch', '-', timeout=timeout,
            stdin='\n'.join(inside) + '\n')
        if not tx_offload:
            _tx_checksum_off(ifname)

    try:
        in_namespace(netns, configure)
        # the alias does not survive the move on old kernels
        run(vif.port_id, 'ip', '-batch', '-', timeout=timeout,
            stdin=f'link set {device} alias {owner}\n'
                  f'link set {device} up\n')
    except BaseException:
        delete(vif.port_id, device, timeout)
        raise


def _addresses(vif: objects.Vif, ifname: str) -> list[str]:
    """Lines for ip -batch. Parsed first: they are not ours."""
    lines = []
    try:
        for fixed in vif.fixed_ips:
            interface = ipaddress.ip_interface(
                f'{fixed.address}/{fixed.prefixlen}')
            nodad = ' nodad' if interface.version == 6 else ''
            lines.append(f'address add {interface} dev {ifname}{nodad}')
            for route in fixed.routes:
                lines.append(
                    f'route replace {ipaddress.ip_network(route.destination)}'
                    f' via {ipaddress.ip_address(route.gateway)} '
                    f'dev {ifname}')
        for version in (4, 6):
            gateways = [
                gateway for gateway in (
                    ipaddress.ip_address(f.gateway)
                    for f in vif.fixed_ips if f.gateway)
                if gateway.version == version]
            # more than one interface may have a gateway: the first wins
            if gateways and ifname == 'eth0':
                family = '-6 ' if version == 6 else ''
                lines.append(f'{family}route replace default via '
                             f'{gateways[0]} dev {ifname}')
    except ValueError as e:
        raise exception.NetworkFailed(
            id=vif.port_id, why=str(e),
            remedy='Correct the subnet in Neutron.') from e
    return lines


def _tx_checksum_off(ifname: str) -> None:
    """``ethtool -K IFNAME tx off``, in this thread's namespace."""
    value = ctypes.create_string_buffer(
        struct.pack('=II', _ETHTOOL_STXCSUM, 0))
    request = struct.pack('16sP', ifname.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request.ljust(40, b'\0'))


def in_namespace(netns: str, function: Callable[[], None]) -> None:
    """Call it in a network namespace: in a thread made for that alone.

    :raises NetworkFailed: if there is no such namespace
    """
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            _setns(netns)
            function()
        except BaseException as e:
            outcome.append(e)

    thread = threading.Thread(target=work, name='netns', daemon=True)
    thread.start()
    thread.join()
    if outcome:
        raise outcome[0]


def _setns(netns: str) -> None:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    try:
        with open(netns) as handle:
            if libc.setns(handle.fileno(), _CLONE_NEWNET):
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error), netns)
    except OSError as e:
        raise exception.NetworkFailed(
            id=netns, why=f'its network namespace cannot be entered: {e}',
            remedy='Run kata-compute as root, in the same mount namespace '
                   'as containerd.') from e
