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

"""Device nodes that hypervisors need, judged by opening them."""

import errno
import os

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots

_NO_DRIVER = (errno.ENOENT, errno.ENODEV, errno.ENXIO)
_DENIED = (errno.EACCES, errno.EPERM)


def _open(roots: host_roots.Roots, node: str, absent: str) -> facts.Device:
    """:param absent: the remedy if nothing is behind the node."""
    path = str(roots.dev / node)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC
                         | os.O_NONBLOCK))
    except OSError as e:
        words = (e.strerror or str(e)).lower()
        if e.errno in _NO_DRIVER:
            return facts.Device(
                path=path, state=facts.DeviceState.ABSENT,
                reason=f'{path} is not there', remedy=absent)
        if e.errno in _DENIED:
            return facts.Device(
                path=path, state=facts.DeviceState.DENIED,
                reason=f'{path} may not be opened by uid {os.geteuid()}',
                remedy='Run as root, or let the user open it.')
        return facts.Device(
            path=path, state=facts.DeviceState.BROKEN,
            reason=f'{path} does not open: {words}', remedy='See dmesg.')
    return facts.Device(path=path, state=facts.DeviceState.USABLE,
                        reason=f'{path} opens')


def vhost_vsock(roots: host_roots.Roots) -> facts.Device:
    return _open(roots, 'vhost-vsock',
                 'Load the module: modprobe vhost_vsock (a kernel with '
                 'CONFIG_VHOST_VSOCK is needed).')


def vhost_net(roots: host_roots.Roots) -> facts.Device:
    return _open(roots, 'vhost-net',
                 'Load the module for a faster network: modprobe vhost_net.')


def peer_pods(roots: host_roots.Roots) -> facts.Device:
    """The socket of a remote hypervisor's adaptor (source: Kata 4.1)."""
    path = roots.run / 'peerpod/hypervisor.sock'
    if path.is_socket():
        return facts.Device(path=str(path), state=facts.DeviceState.USABLE,
                            reason=f'{path} is there')
    return facts.Device(
        path=str(path), state=facts.DeviceState.ABSENT,
        reason=f'{path} is not there',
        remedy='For VMs of the cloud as sandboxes, start a '
               'cloud-api-adaptor.')


def tun(roots: host_roots.Roots) -> facts.Device:
    return _open(roots, 'net/tun', 'Load the module: modprobe tun.')


def mshv(roots: host_roots.Roots) -> facts.Device:
    # no remedy: no other host than Azure's can get it
    return _open(roots, 'mshv', '')
