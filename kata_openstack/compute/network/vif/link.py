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

"""Network interfaces and namespaces, with iproute2.

Not with pyroute2: this process has threads and uses gRPC, so it must not
fork, and pyroute2's namespace calls fork, or keep their own event loop. Its
API also differs between the releases that OpenStack uses. One ip -batch
takes about 5 ms.
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
    """Run a program and return its standard output.

    Not with oslo.concurrency: it sets a preexec_fn, with which Python calls
    fork, and that breaks gRPC. Without it, subprocess calls vfork.

    :param what: pod or port, for the error
    :param timeout: seconds
    :raises NetworkFailed: with the program's error output
    """
    why, remedy = '', "See kata-compute's log on the node."
    try:
        done = subprocess.run(command, input=stdin, text=True,
                              capture_output=True, timeout=timeout)
        if done.returncode == 0:
            return done.stdout
        why = ' '.join((done.stderr or done.stdout).split())
    except subprocess.TimeoutExpired:
        why = f'no result within {timeout} s'
    except FileNotFoundError:
        why = 'not installed'
        remedy = 'Install iproute2 and openvswitch-switch on the node.'
    raise exception.NetworkFailed(id=what, why=f'{command[0]}: {why}',
                                  remedy=remedy)


def exists(device: str) -> bool:
    return any(name == device for _, name in socket.if_nameindex())


def alias(device: str, timeout: int = 30) -> str:
    """Return the ID of the sandbox that owns a host interface, or ''."""
    if not exists(device):
        return ''
    try:
        shown = run(device, 'ip', '-json', 'link', 'show', device,
                    timeout=timeout)
    except exception.NetworkFailed:  # removed since
        return ''
    return json.loads(shown)[0].get('ifalias', '')


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


def delete(what: str, device: str, timeout: int) -> None:
    """Delete a veth and so its peer; a missing device is not an error."""
    if exists(device):
        try:
            run(what, 'ip', 'link', 'delete', device, timeout=timeout)
        except exception.NetworkFailed:
            if exists(device):  # else the kernel removed it with its peer
                raise


def create_pair(vif: objects.Vif, device: str, netns: str, ifname: str, *,
                owner: str, tx_offload: bool, timeout: int) -> None:
    """Create a veth: ``device`` here, ``ifname`` in the namespace, both up.

    ``ifname`` gets the port's addresses and routes.

    :param owner: alias of the host's end
    :param tx_offload: let the pod leave checksums to hardware. Must be off
        if a program reads the host's end: the userspace datapath passes
        packets on without a checksum, and TCP hangs.
    :raises NetworkFailed:
    """
    delete(vif.port_id, device, timeout)
    # Create the pair inside and move one end out, so that the host's
    # namespace never has an interface called eth0.
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
        # set the alias again: old kernels lose it in the move
        run(vif.port_id, 'ip', '-batch', '-', timeout=timeout,
            stdin=f'link set {device} alias {owner}\n'
                  f'link set {device} up\n')
    except BaseException:
        delete(vif.port_id, device, timeout)
        raise


def _addresses(vif: objects.Vif, ifname: str) -> list[str]:
    """Return lines for ip -batch.

    The addresses come from a request, so each is parsed before its use.
    """
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
            # several interfaces may have gateways: eth0's first one is used
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
    """Call a function in a network namespace, in a new thread.

    :raises NetworkFailed: if the namespace cannot be entered
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
            id=netns, why=f'cannot enter the network namespace: {e}',
            remedy='Run kata-compute as root, in the same mount namespace '
                   'as containerd.') from e
