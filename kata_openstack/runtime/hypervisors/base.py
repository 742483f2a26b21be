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

"""The base of hypervisor plugins, and how they judge a host.

A plugin is a class with :class:`Facts` and one method that finds its files
on a host. The base class does the rest, in the same way for all plugins. It
checks the architecture, then the accelerator, then the other needs, then the
installation.
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

# The offers of handlers, which are the needs of pods, with descriptions.
OFFERS = pod_needs.NEEDS

# Offers that depend on a capability of the host.
_HOST_OFFERS = {'vfio': caps.VFIO, 'gpu': caps.NVIDIA_GPU,
                'block-rootfs': caps.DEVMAPPER, 'nydus': caps.NYDUS}
# Offers that a VM of fixed size does not have.
_DYNAMIC = ('cpu-hotplug', 'memory-hotplug', 'resize')

_DEFAULT_MIB = 2048

# Seconds until the agent must answer in a nested guest; doubled if guests
# are slow.
_NESTED_TIMEOUT = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handler:
    """One of containerd's runtime handlers, which uses a hypervisor.

    ``shim`` is the name in upstream Kata (``qemu-runtime-rs``); empty for a
    handler that is not upstream's. ``offers`` are keys of OFFERS.
    ``table``: upstream's configuration has [hypervisor.<table>].
    ``snapshotter``: the snapshotter that the handler needs; empty for
    containerd's default one. ``architectures``: empty for all of the
    hypervisor's.
    """

    name: str
    runtime_type: str
    shim: str = ''
    table: str = ''
    offers: frozenset[str] = frozenset()
    snapshotter: str = ''
    architectures: frozenset[str] = frozenset()


def kata_handler(shim: str, *offers: str, table: str = '',
                 snapshotter: str = '',
                 architectures: frozenset[str] = frozenset()) -> Handler:
    """Return a handler of upstream Kata, with the names of upstream.

    :param table: the name in [hypervisor.<table>]; '' for the shim's name
        without ``-runtime-rs``.
    """
    return Handler(name=f'kata-{shim}',
                   runtime_type=f'io.containerd.kata-{shim}.v2',
                   shim=shim,
                   table=table or shim.removesuffix('-runtime-rs'),
                   offers=frozenset(offers), snapshotter=snapshotter,
                   architectures=architectures)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts about a hypervisor.

    ``handlers`` and ``accelerators``: the preferred one first. ``needs``:
    the host must have all of these capabilities. ``kvm_needs``: the same,
    but only if KVM is the accelerator. ``architectures`` are in the kernel's
    spelling. The overhead is what one sandbox costs the host in addition to
    the guest's memory and vCPUs. ``max_vcpus`` and ``min_memory_mib`` are
    limits of one sandbox.
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

    def runs_on(self, handler: Handler) -> frozenset[str]:
        """Return the architectures of one of the handlers."""
        return handler.architectures or self.architectures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """The shim and its configuration file, for containerd's configuration."""

    runtime_path: pathlib.Path
    config_path: pathlib.Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A reason why a handler cannot run, and a remedy."""

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
    """The base of all plugins; has no constructor arguments and no state."""

    facts: Facts

    @abc.abstractmethod
    def files(self, handler: Handler, host: hosts.Host,
              conf: cfg.ConfigOpts) -> Files | Problem:
        """Find the shim and its configuration on this host."""

    def cost_mib(self, memory_mib: int, conf: cfg.ConfigOpts) -> int:
        """Return the memory, in MiB, that a pod may use on the host.

        :param memory_mib: what the pod asks for, 0 for nothing. A VM of
            upstream Kata then has default_memory of its configuration.
        """
        return (memory_mib or _DEFAULT_MIB) + self.facts.overhead_mib

    def judge(self, handler: Handler, host: hosts.Host,
              capabilities: Mapping[str, caps.Capability],
              conf: cfg.ConfigOpts) -> Verdict:
        """Return whether ``handler`` can run here, or the first obstacle.

        The checks that no package can fix come first, so that an operator
        does not install Kata on a host that cannot run it.
        """
        facts = self.facts
        architectures = facts.runs_on(handler)
        if host.cpu.architecture not in architectures:
            return Verdict(
                usable=False,
                reason=f'it does not run on {host.cpu.architecture}',
                remedy='Use a node with one of these architectures: '
                       f'{", ".join(sorted(architectures))}.')
        # the capabilities that each accelerator requires
        wanted = {name: [name, *(facts.kvm_needs if name == caps.KVM
                                 else ())] for name in facts.accelerators}
        present = [name for name, parts in wanted.items()
                   if all(_present(capabilities, part) for part in parts)]
        if not present:
            return _lacking(capabilities, [
                next(part for part in parts
                     if not _present(capabilities, part))
                for parts in wanted.values()])
        for name in facts.needs:
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
        """Return the offers that are not available on this host, and why."""
        return {offer: _reason(capabilities, name)
                for offer, name in _HOST_OFFERS.items()
                if offer in handler.offers
                and not _present(capabilities, name)}

    def isolation(self, handler: Handler, accelerator: str) -> str:
        """Return the isolation level, one of :data:`.needs.ISOLATION`."""
        if accelerator not in caps.HARDWARE:
            return 'none'
        return ('confidential' if 'confidential' in handler.offers
                else 'hardware')

    def tuning(self, handler: Handler, host: hosts.Host) -> dict[str, Any]:
        """Return the settings of the handler's configuration for this host.

        :returns: the tables of a drop-in in upstream's format, which
            overrides upstream's configuration; empty for a handler that
            reads no drop-ins.
        """
        return {}


def _present(capabilities: Mapping[str, caps.Capability],
             name: str) -> bool:
    return name in capabilities and capabilities[name].present


def _reason(capabilities: Mapping[str, caps.Capability], name: str) -> str:
    known = capabilities.get(name)
    return known.reason if known else f'the capability {name} is unknown'


def _lacking(capabilities: Mapping[str, caps.Capability],
             names: Iterable[str]) -> Verdict:
    """Return the refusal for a host that has none of ``names``."""
    missing = [capabilities.get(name) or caps.Capability(
        name=name, present=False,
        reason=f'the capability {name} is unknown') for name in names]
    return Verdict(
        usable=False,
        reason='; '.join(c.reason for c in missing),
        remedy=' Or: '.join(c.remedy for c in missing if c.remedy))


class UpstreamKata(Hypervisor):
    """A hypervisor that upstream Kata ships in its release archives."""

    def files(self, handler: Handler, host: hosts.Host,
              conf: cfg.ConfigOpts) -> Files | Problem:
        shim = host.kata_shim(handler.shim)
        if shim is None:
            return Problem(
                reason=f'Kata Containers with configuration-{handler.shim}'
                       f'.toml is not installed below {host.kata_root}',
                remedy='Install a release of Kata Containers there (archive '
                       'kata-static for runtime-rs, kata-go-static for the '
                       'Go runtime), or set [kata] kata_root to its folder.')
        if shim.problem:
            return Problem(reason=shim.problem,
                           remedy='Correct the file or install Kata '
                                  'Containers again.')
        return Files(runtime_path=shim.runtime_path,
                     config_path=shim.config_path)

    def withheld(self, handler: Handler, host: hosts.Host,
                 capabilities: Mapping[str, caps.Capability],
                 ) -> dict[str, str]:
        """Also withhold what the installed configuration switches off."""
        found = super().withheld(handler, host, capabilities)
        shim = host.kata_shim(handler.shim)
        if shim is None or shim.static_sizing is not False:
            found |= {offer: 'its configuration does not set '
                      'static_sandbox_resource_mgmt = false'
                      for offer in _DYNAMIC if offer in handler.offers}
        if 'vm-template' in handler.offers and not (shim and shim.template):
            found['vm-template'] = ('its configuration does not set '
                                    'enable_template = true')
        if shim and shim.shared_fs == 'none' and 'shared-fs' in handler.offers:
            found['shared-fs'] = 'its configuration sets shared_fs = "none"'
        return found

    def tuning(self, handler: Handler, host: hosts.Host) -> dict[str, Any]:
        shim = host.kata_shim(handler.shim)
        table = (shim.table if shim else '') or handler.table
        # Tenants must not set kernel parameters or other options of the
        # hypervisor by annotations. Upstream's default allows some.
        tables: dict[str, Any] = {
            'hypervisor': {table: {'enable_annotations': []}}}
        if shim is None or shim.static_sizing is not False:
            tables['runtime'] = {'static_sandbox_resource_mgmt': True}
        if host.nested:
            slow = host.kvm.ratio is None or host.kvm.ratio < 0.8
            seconds = _NESTED_TIMEOUT * (2 if slow else 1)
            rust = (shim.runtime == 'rust' if shim and shim.runtime
                    else handler.shim.endswith(('-runtime-rs', 'dragonball')))
            # runtime-rs gives up after 10 s, but a nested guest may need 20 s;
            # kata_config.py keeps a time-out that is longer than this
            tables['agent'] = {'kata': (
                {'reconnect_timeout_ms': seconds * 1000} if rust
                else {'dial_timeout': seconds})}
        return tables
