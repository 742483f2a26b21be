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

"""Device nodes that hypervisors need; the checks open them."""

import errno
import os

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots

_NO_DRIVER = (errno.ENOENT, errno.ENODEV, errno.ENXIO)
_DENIED = (errno.EACCES, errno.EPERM)


def _open(roots: host_roots.Roots, node: str, absent: str) -> facts.Device:
    """:param absent: the remedy if the node or its driver is missing."""
    path = str(roots.dev / node)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC
                         | os.O_NONBLOCK))
    except OSError as e:
        words = (e.strerror or str(e)).lower()
        if e.errno in _NO_DRIVER:
            return facts.Device(
                path=path, state=facts.DeviceState.ABSENT,
                reason=f'{path} does not exist or has no driver',
                remedy=absent)
        if e.errno in _DENIED:
            return facts.Device(
                path=path, state=facts.DeviceState.DENIED,
                reason=f'{path} may not be opened by uid {os.geteuid()}',
                remedy='Run as root, or give the user read and write access '
                       f'to {path}.')
        return facts.Device(
            path=path, state=facts.DeviceState.BROKEN,
            reason=f'{path} cannot be opened: {words}',
            remedy='See dmesg for an error of its driver.')
    return facts.Device(path=path, state=facts.DeviceState.USABLE,
                        reason=f'{path} is usable')


def vhost_vsock(roots: host_roots.Roots) -> facts.Device:
    return _open(roots, 'vhost-vsock',
                 'Load the module: modprobe vhost_vsock. The kernel must '
                 'have CONFIG_VHOST_VSOCK.')


def vhost_net(roots: host_roots.Roots) -> facts.Device:
    return _open(roots, 'vhost-net',
                 'For a faster network, load the module: modprobe vhost_net.')


def peer_pods(roots: host_roots.Roots) -> facts.Device:
    """Look for the socket of a cloud-api-adaptor (source: Kata 4.1)."""
    path = roots.run / 'peerpod/hypervisor.sock'
    if path.is_socket():
        return facts.Device(path=str(path), state=facts.DeviceState.USABLE,
                            reason=f'{path} exists')
    return facts.Device(
        path=str(path), state=facts.DeviceState.ABSENT,
        reason=f'{path} does not exist',
        remedy='To run sandboxes as VMs of a cloud, start a '
               'cloud-api-adaptor.')


def tun(roots: host_roots.Roots) -> facts.Device:
    return _open(roots, 'net/tun', 'Load the module: modprobe tun.')


def mshv(roots: host_roots.Roots) -> facts.Device:
    # no remedy: only hosts of Azure have the device
    return _open(roots, 'mshv', '')
