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

"""Kernel modules that hypervisors use, and the transports of vsock."""

import dataclasses

from kata_openstack.runtime.host import roots as host_roots

_KNOWN = (
    'dm_thin_pool', 'irqbypass', 'kvm', 'kvm_amd', 'kvm_intel', 'kvm_pvm',
    'mshv_root', 'mshv_vtl', 'openvswitch', 'overlay', 'tdx_guest', 'tun',
    'vfio', 'vfio_pci', 'vhost', 'vhost_net', 'vhost_vsock', 'virtiofs',
    'vsock', 'hv_sock', 'vmw_vsock_virtio_transport',
    'vmw_vsock_vmci_transport', 'vmw_vmci',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Modules:
    """The relevant modules that are loaded or built in."""

    present: tuple[str, ...] = ()

    def __contains__(self, name: object) -> bool:
        return name in self.present


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vsock:
    """The transports of vsock that are loaded.

    ``conflict``: VMware's transport is loaded. It occupies the host side of
    vsock, so that vhost_vsock cannot use it (Kata issues 1327 and 3459).
    """

    transports: tuple[str, ...] = ()
    conflict: bool = False
    reason: str = ''
    remedy: str = ''


def check(roots: host_roots.Roots) -> Modules:
    loaded = {line.split(' ', 1)[0] for line in
              roots.read(roots.proc / 'modules').splitlines()}
    # built-in modules are only in /sys, if they have parameters or a version
    loaded |= set(roots.names(roots.sys / 'module'))
    return Modules(present=tuple(sorted(loaded & set(_KNOWN))))


def vsock(modules: Modules) -> Vsock:
    transports = tuple(name for name in (
        'vhost_vsock', 'vmw_vsock_virtio_transport',
        'vmw_vsock_vmci_transport', 'hv_sock') if name in modules)
    conflict = 'vmw_vsock_vmci_transport' in modules
    if conflict:
        return Vsock(
            transports=transports, conflict=True,
            reason='vmw_vsock_vmci_transport occupies the host side of '
                   'vsock, which vhost_vsock needs',
            remedy='Unload and blacklist vmw_vsock_vmci_transport, then run '
                   'modprobe vhost_vsock. Or use a hypervisor with hybrid '
                   'vsock, such as clh.')
    return Vsock(transports=transports, reason=(
        f'loaded transports: {", ".join(transports)}' if transports
        else 'no transport of vsock is loaded'))
