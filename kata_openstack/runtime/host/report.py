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

"""The probe's report on a host: facts, reasons and remedies."""

import dataclasses
import enum
import pathlib
from typing import Any

from kata_openstack.runtime.host.checks import cgroup as host_cgroup
from kata_openstack.runtime.host.checks import containerd_api
from kata_openstack.runtime.host.checks import instance as host_instance
from kata_openstack.runtime.host.checks import iommu as host_iommu
from kata_openstack.runtime.host.checks import memory as host_memory
from kata_openstack.runtime.host.checks import modules as host_modules
from kata_openstack.runtime.host.checks import tee as host_tee
from kata_openstack.runtime.host import facts

_UNKNOWN = facts.Device(path='', state=facts.DeviceState.ABSENT,
                        reason='it was not checked')

# Fields with a reason and a remedy, the most important first.
_PARTS = ('cpu', 'kvm', 'instance', 'mshv', 'vhost_vsock', 'vsock',
          'vhost_net', 'tun', 'memory', 'iommu', 'tee', 'cgroup', 'qemu',
          'virtiofsd', 'peer_pods', 'containerd')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One part of the host in words; an empty remedy: nothing to do."""

    name: str
    reason: str
    remedy: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """The result of one probe.

    ``peer_pods`` is the socket of the cloud-api-adaptor, which the remote
    hypervisor needs. ``containerd`` is None if the probe had no client for
    it. ``unreadable``: one line for each file that exists but cannot be
    read. ``probe_seconds``: the duration of the probe.
    """

    boot_id: str
    cpu: facts.Cpu
    kvm: facts.Kvm
    mshv: facts.Device
    vhost_vsock: facts.Device
    tun: facts.Device
    qemu: facts.Program
    virtiofsd: facts.Program
    kata_root: pathlib.Path
    kata: tuple[facts.KataShim, ...] = ()
    vhost_net: facts.Device = _UNKNOWN
    peer_pods: facts.Device = _UNKNOWN
    vsock: host_modules.Vsock = host_modules.Vsock()
    modules: host_modules.Modules = host_modules.Modules()
    memory: host_memory.Memory = host_memory.Memory()
    iommu: host_iommu.Iommu = host_iommu.Iommu()
    tee: host_tee.Tee = host_tee.Tee()
    cgroup: host_cgroup.Cgroup = host_cgroup.Cgroup()
    instance: host_instance.Instance = host_instance.Instance()
    containerd: containerd_api.Containerd | None = None
    unreadable: tuple[str, ...] = ()
    probe_seconds: float = 0.0

    @property
    def nested(self) -> bool:
        return self.cpu.nested

    def kata_shim(self, name: str) -> facts.KataShim | None:
        return next((s for s in self.kata if s.name == name), None)

    def findings(self) -> list[Finding]:
        """Return the findings of all checks, in words."""
        parts = [(name, getattr(self, name)) for name in _PARTS]
        found = [Finding(name=name, reason=part.reason, remedy=part.remedy)
                 for name, part in parts if part is not None]
        found += [Finding(
            name=f'kata-{shim.name}',
            reason=shim.problem or f'Kata {shim.version or "(no version)"} '
            f'with {shim.config_path}',
            remedy='Correct the file or install Kata Containers again.'
            if shim.problem else '') for shim in self.kata]
        return found + [Finding(
            name='unreadable', reason=line, remedy='Run as root. If '
            'you are root, see dmesg.') for line in self.unreadable]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return _plain(dataclasses.asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (pathlib.PurePath, enum.StrEnum)):
        return str(value)
    return value
