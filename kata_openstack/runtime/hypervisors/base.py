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

"""What a hypervisor plugin states about itself, and how it is judged.

A plugin is a class with :class:`Facts` and one method that finds its files
on a host. Everything else is judged here, in the same way and with the same
words for all of them: the architecture, then the accelerator, then what
else the host must have, then the installation.
"""

import abc
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from oslo_config import cfg

from kata_openstack import needs as pod_needs
from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.host import report as hosts

# What a handler can offer and a pod can need, in words for a message.
OFFERS = pod_needs.NEEDS

# Offers that a hypervisor can keep only on a host with a capability.
_HOST_OFFERS = {'vfio': caps.VFIO, 'gpu': caps.NVIDIA_GPU,
                'block-rootfs': caps.DEVMAPPER, 'nydus': caps.NYDUS}
# Offers that a VM of fixed size cannot keep.
_DYNAMIC = ('cpu-hotplug', 'memory-hotplug', 'resize')

# Seconds in which the agent must answer; twice that where guests are slow.
_NESTED_TIMEOUT = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handler:
    """One of containerd's runtime handlers that a hypervisor is behind.

    ``shim`` is upstream Kata's name (``qemu-runtime-rs``); empty for a
    handler that is not upstream's. ``offers`` are keys of OFFERS.
    ``table``: upstream's configuration has [hypervisor.<table>].
    ``snapshotter``: containerd's that it needs; empty for the default one.
    """

    name: str
    runtime_type: str
    shim: str = ''
    table: str = ''
    offers: frozenset[str] = frozenset()
    snapshotter: str = ''


def kata_handler(shim: str, *offers: str, table: str = '',
                 snapshotter: str = '') -> Handler:
    """A handler of upstream Kata, with the names that upstream uses.

    :param table: if it is not the shim's name, less what tells runtime-rs.
    """
    return Handler(name=f'kata-{shim}',
                   runtime_type=f'io.containerd.kata-{shim}.v2',
                   shim=shim,
                   table=table or shim.removesuffix('-runtime-rs'),
                   offers=frozenset(offers), snapshotter=snapshotter)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """``handlers`` and ``accelerators``: the preferred one first.

    ``needs`` are capabilities of the host, all of which must be present.
    The overhead is what one sandbox costs the host beyond the guest's
    memory and vCPUs. Architectures are in the kernel's spelling.
    ``kvm_needs`` count only where KVM is what accelerates. The limits are
    those of one sandbox.
    """

    handlers: tuple[Handler, ...]
    accelerators: tuple[str, ...]
    needs: tuple[str, ...]
    architectures: frozenset[str]
    overhead_mib: int
    overhead_cpus: float
    kvm_needs: tuple[str, ...] = ()
    max_vcpus: int = 256
    min_memory_mib: int = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """What containerd's configuration must name to start the shim."""

    runtime_path: pathlib.Path
    config_path: pathlib.Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that stands in the way, and what to do about it."""

    reason: str
    remedy: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a handler can run here; ``reason`` explains either way."""

    usable: bool
    reason: str
    remedy: str = ''
    accelerator: str | None = None
    files: Files | None = None


class Hypervisor(abc.ABC):
    """Base of all plugins; made without arguments, holds no state."""

    facts: Facts

    @abc.abstractmethod
    def files(self, handler: Handler, host: hosts.Host,
              conf: cfg.ConfigOpts) -> Files | Problem:
        """Find the shim and its configuration on this host."""

    def needs(self, conf: cfg.ConfigOpts) -> tuple[str, ...]:
        """Those of the facts, and what the configuration adds to them."""
        return self.facts.needs

    def judge(self, handler: Handler, host: hosts.Host,
              capabilities: Mapping[str, caps.Capability],
              conf: cfg.ConfigOpts) -> Verdict:
        """Say whether ``handler`` can run here, or the first obstacle.

        The order is that of effort: what no package can change goes first,
        so that nobody installs Kata on a host that cannot run it.
        """
        facts = self.facts
        if host.cpu.architecture not in facts.architectures:
            return Verdict(
                usable=False,
                reason=f'it does not run on {host.cpu.architecture}',
                remedy='It needs one of: '
                       f'{", ".join(sorted(facts.architectures))}.')
        # what must be present for each of the accelerators
        wanted = {name: [name, *(facts.kvm_needs if name == caps.KVM
                                 else ())] for name in facts.accelerators}
        present = [name for name, parts in wanted.items()
                   if all(_present(capabilities, part) for part in parts)]
        if not present:
            return _lacking(capabilities, [
                next(part for part in parts
                     if not _present(capabilities, part))
                for parts in wanted.values()])
        for name in self.needs(conf):
            if not _present(capabilities, name):
                return _lacking(capabilities, [name])
        files = self.files(handler, host, conf)
        if isinstance(files, Problem):
            return Verdict(usable=False, reason=files.reason,
                           remedy=files.remedy)
        chosen = capabilities[present[0]]
        passed = [capabilities[name].reason
                  for name in facts.accelerators[
                      :facts.accelerators.index(chosen.name)]]
        reason = chosen.reason
        if passed:
            reason += f', because {"; ".join(passed)}'
        return Verdict(usable=True, accelerator=chosen.name, files=files,
                       reason=reason)

    def withheld(self, handler: Handler, host: hosts.Host,
                 capabilities: Mapping[str, caps.Capability],
                 ) -> dict[str, str]:
        """Offers that the handler cannot keep on this host, and why."""
        return {offer: _reason(capabilities, name)
                for offer, name in _HOST_OFFERS.items()
                if offer in handler.offers
                and not _present(capabilities, name)}

    def isolation(self, handler: Handler, accelerator: str) -> str:
        """One of :data:`.needs.ISOLATION`."""
        if accelerator not in caps.HARDWARE:
            return 'none'
        return ('confidential' if 'confidential' in handler.offers
                else 'hardware')

    def tuning(self, handler: Handler, host: hosts.Host) -> dict[str, Any]:
        """What the handler's configuration must say on this host.

        :returns: tables for a drop-in of upstream's format, laid over what
            upstream ships; empty for a handler that has no such file.
        """
        return {}


def _present(capabilities: Mapping[str, caps.Capability],
             name: str) -> bool:
    return name in capabilities and capabilities[name].present


def _reason(capabilities: Mapping[str, caps.Capability], name: str) -> str:
    known = capabilities.get(name)
    return known.reason if known else f'the capability {name} is not known'


def _lacking(capabilities: Mapping[str, caps.Capability],
             names: Iterable[str]) -> Verdict:
    """None of ``names`` is present: all their reasons, and remedies."""
    missing = [capabilities.get(name) or caps.Capability(
        name=name, present=False,
        reason=f'the capability {name} is not known') for name in names]
    return Verdict(
        usable=False,
        reason='; '.join(c.reason for c in missing),
        remedy=' Or: '.join(c.remedy for c in missing if c.remedy))


class UpstreamKata(Hypervisor):
    """A hypervisor that upstream Kata ships, in its release archives."""

    def files(self, handler: Handler, host: hosts.Host,
              conf: cfg.ConfigOpts) -> Files | Problem:
        shim = host.kata_shim(handler.shim)
        if shim is None:
            return Problem(
                reason=f'Kata Containers with configuration-{handler.shim}'
                       f'.toml is not installed below {host.kata_root}',
                remedy='Unpack a release of Kata Containers to its root '
                       '(kata-static for runtime-rs, kata-go-static for '
                       'the Go runtime), or set [kata] kata_root.')
        if shim.problem:
            return Problem(reason=shim.problem,
                           remedy='Install Kata anew, or correct the file.')
        return Files(runtime_path=shim.runtime_path,
                     config_path=shim.config_path)

    def withheld(self, handler: Handler, host: hosts.Host,
                 capabilities: Mapping[str, caps.Capability],
                 ) -> dict[str, str]:
        """Upstream's configuration has much switched off at first."""
        found = super().withheld(handler, host, capabilities)
        shim = host.kata_shim(handler.shim)
        if shim is None or shim.static_sizing is not False:
            found |= {offer: 'its configuration does not say '
                      'static_sandbox_resource_mgmt = false'
                      for offer in _DYNAMIC if offer in handler.offers}
        if 'vm-template' in handler.offers and not (shim and shim.template):
            found['vm-template'] = ('its configuration does not say '
                                    'enable_template = true')
        if shim and shim.shared_fs == 'none' and 'shared-fs' in handler.offers:
            found['shared-fs'] = 'its configuration says shared_fs = "none"'
        return found

    def tuning(self, handler: Handler, host: hosts.Host) -> dict[str, Any]:
        shim = host.kata_shim(handler.shim)
        table = (shim.table if shim else '') or handler.table
        # a tenant must not choose the kernel's parameters, nor anything
        # else; an empty list is stronger than upstream's default
        tables: dict[str, Any] = {
            'hypervisor': {table: {'enable_annotations': []}}}
        if shim is None or shim.static_sizing is not False:
            tables['runtime'] = {'static_sandbox_resource_mgmt': True}
        if host.nested:
            slow = host.kvm.ratio is None or host.kvm.ratio < 0.8
            seconds = _NESTED_TIMEOUT * (2 if slow else 1)
            rust = (shim.runtime == 'rust' if shim and shim.runtime
                    else handler.shim.endswith(('-runtime-rs', 'dragonball')))
            # runtime-rs gives up after 3 s, which a nested guest may need
            # for its kernel alone
            tables['agent'] = {'kata': (
                {'reconnect_timeout_ms': seconds * 1000} if rust
                else {'dial_timeout': seconds})}
        return tables
