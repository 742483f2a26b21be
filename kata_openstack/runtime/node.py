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

"""The handlers of this node, and the choice of a handler for a pod."""

from collections.abc import Callable
from collections.abc import Collection
import dataclasses
import pathlib
from typing import Any

from oslo_config import cfg

from kata_openstack import needs as pod_needs
from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.host.checks import containerd_api
from kata_openstack.runtime.host.checks import instance
from kata_openstack.runtime.host import probe
from kata_openstack.runtime.host import report as hosts
from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime.hypervisors import base
from kata_openstack.runtime.hypervisors import loader
from kata_openstack.runtime import selection


@dataclasses.dataclass(frozen=True, kw_only=True)
class HandlerState:
    """One handler on this node; ``reason`` explains ``usable``.

    ``min_memory_mib`` is the minimum of the VM, including the overhead.
    ``withheld``: offers that are not available on this node, and why.
    """

    name: str
    hypervisor: str
    usable: bool
    reason: str
    remedy: str = ''
    accelerator: str | None = None
    overhead_mib: int = 0
    overhead_cpus: float = 0.0
    offers: tuple[str, ...] = ()
    withheld: dict[str, str] = dataclasses.field(default_factory=dict)
    isolation: str = 'none'
    max_vcpus: int | None = None
    min_memory_mib: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), 'offers': list(self.offers)}

    def candidate(self) -> selection.Candidate:
        # the memory of a VM is the pod's and the overhead
        least = (self.min_memory_mib or 0) - self.overhead_mib
        return selection.Candidate(
            handler=self.name, hypervisor=self.hypervisor,
            usable=self.usable, reason=self.reason,
            offers=frozenset(self.offers), withheld=self.withheld,
            isolation=self.isolation, max_vcpus=self.max_vcpus,
            min_memory_mib=least if least > 0 else None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The handler for one pod; add the overhead to the size of the pod.

    ``cost_mib``: the memory that the pod may use on the host, in all.
    """

    handler: str
    hypervisor: str
    accelerator: str
    reason: str
    overhead_mib: int
    overhead_cpus: float
    cost_mib: int


class Node:
    """This node, with the result of its last probe.

    :param conf: has the groups DEFAULT, kata and embedded registered.
    :param host: a recorded host; None probes this one on first use.
    :param containerd: the client for the probe; None leaves the snapshotters
        unknown.
    """

    def __init__(self, conf: cfg.ConfigOpts,
                 host: hosts.Host | None = None,
                 containerd: containerd_api.Client | None = None) -> None:
        self._conf = conf
        self._host = host
        self._containerd = containerd
        # returns the problem of a handler whose canary failed
        self.doubt: Callable[[str], base.Problem | None] = lambda name: None

    @property
    def host(self) -> hosts.Host:
        if self._host is None:
            self.refresh(measure=False)
        assert self._host is not None
        return self._host

    def refresh(self, *, measure: bool = True) -> None:
        """Probe the host again.

        :param measure: also measure KVM again instead of using the cache.
        """
        self._host = probe.probe(
            host_roots.Roots.configured(self._conf),
            cache=pathlib.Path(self._conf.run_path) / 'kvm.json',
            refresh=measure, containerd_client=self._containerd,
            metadata=(instance.ask_metadata
                      if self._conf.kata.use_metadata_service else None))

    def _capabilities(self) -> dict[str, caps.Capability]:
        return caps.capabilities(
            self.host, allow_emulation=self._conf.kata.allow_emulation)

    def _judge(self) -> list['_Judged']:
        capabilities = self._capabilities()
        plugins = loader.in_order(self._conf.kata.hypervisor_order)
        return [_judge(name, plugin, handler, self.host, capabilities,
                       self._conf)
                for name, plugin in plugins.items()
                for handler in plugin.facts.handlers]

    def handlers(self, configured: Collection[str] | None = None, *,
                 doubted: bool = True) -> list[HandlerState]:
        """Return the state of all handlers, in the operator's order.

        :param configured: the handlers that containerd has; None if that is
            unknown, and is then not checked.
        :param doubted: whether a problem from :attr:`doubt` makes a handler
            unusable.
        """
        states = []
        for judged in self._judge():
            handler, verdict = judged.handler, judged.verdict
            facts = judged.plugin.facts
            if (verdict.usable and configured is not None
                    and handler.name not in configured):
                verdict = base.Verdict(
                    usable=False, accelerator=verdict.accelerator,
                    reason='containerd has no runtime handler of this name',
                    remedy='Run "kata-openstack containerd configure" and '
                           'restart containerd.')
            doubt = (self.doubt(handler.name)
                     if doubted and verdict.usable else None)
            if doubt is not None:
                verdict = base.Verdict(
                    usable=False, accelerator=verdict.accelerator,
                    reason=doubt.reason, remedy=doubt.remedy)
            states.append(HandlerState(
                name=handler.name, hypervisor=judged.hypervisor,
                usable=verdict.usable, reason=verdict.reason,
                remedy=verdict.remedy, accelerator=verdict.accelerator,
                overhead_mib=facts.overhead_mib,
                overhead_cpus=facts.overhead_cpus,
                offers=tuple(sorted(
                    handler.offers - judged.withheld.keys())),
                withheld=judged.withheld, isolation=judged.isolation,
                max_vcpus=facts.max_vcpus,
                min_memory_mib=facts.min_memory_mib))
        return states

    def files(self) -> dict[base.Handler, base.Files]:
        """Return the shim and the configuration of each usable handler."""
        return {judged.handler: judged.verdict.files
                for judged in self._judge()
                if judged.verdict.usable and judged.verdict.files}

    def tunings(self) -> dict[base.Handler, dict[str, Any]]:
        """Return the settings for the configuration of each usable handler."""
        return {judged.handler: judged.tuning for judged in self._judge()
                if judged.verdict.usable and judged.verdict.files}

    def consider(self, runtime: str, needs: Collection[str],
                 configured: Collection[str] | None = None, *,
                 isolation: str = 'none', cpus: float | None = None,
                 memory_mib: int | None = None) -> list[selection.Opinion]:
        """Return the obstacle of each handler, see :meth:`choose`."""
        return selection.consider(
            runtime, needs, [s.candidate() for s in
                             self.handlers(configured)],
            isolation=self._isolation(isolation), allowed=self._allowed(),
            cpus=cpus, memory_mib=memory_mib)

    def choose(self, runtime: str, needs: Collection[str],
               configured: Collection[str] | None = None, *,
               isolation: str = 'none', cpus: float | None = None,
               memory_mib: int | None = None) -> Choice:
        """Choose the handler for a pod.

        The operator's options for isolation and allowed handlers apply too.

        :param runtime: ``kata`` for any handler, or the name of a handler.
        :param needs: keys of :data:`.needs.NEEDS`.
        :param isolation: one of :data:`.needs.ISOLATION`.
        :param cpus: size of the pod, None if it did not request one.
        :param memory_mib: size of the pod, None if it did not request one.
        :raises UnknownRuntime: no hypervisor has this handler.
        :raises NoHandler: no handler can run the pod; has all reasons.
        """
        states = {s.name: s for s in self.handlers(configured)}
        chosen = selection.choose(
            runtime, needs, [s.candidate() for s in states.values()],
            isolation=self._isolation(isolation), allowed=self._allowed(),
            cpus=cpus, memory_mib=memory_mib)
        state = states[chosen.handler]
        assert state.accelerator is not None
        plugin = loader.installed()[state.hypervisor]
        how = ('requested by name' if runtime != selection.ANY
               else 'the first that can run the pod in the order '
                    f'{", ".join(self._conf.kata.hypervisor_order)}')
        return Choice(
            handler=state.name, hypervisor=state.hypervisor,
            accelerator=state.accelerator,
            reason=f'{how}; {state.reason}',
            overhead_mib=state.overhead_mib,
            overhead_cpus=state.overhead_cpus,
            cost_mib=plugin.cost_mib(memory_mib or 0, self._conf))

    def _isolation(self, asked: str) -> str:
        """Return the stronger of ``asked`` and the operator's minimum."""
        if asked not in pod_needs.ISOLATION:
            return asked  # selection refuses it with a reason
        return pod_needs.strongest(
            asked, self._conf.kata.minimum_isolation)

    def _allowed(self) -> frozenset[str] | None:
        """Return the handlers that the operator allows; None for all."""
        return frozenset(self._conf.kata.allowed_handlers) or None

    def runtimes(self,
                 configured: Collection[str] | None = None) -> list[str]:
        """Return the runtimes for Zun, ``kata`` first, or an empty list."""
        # consider() also excludes handlers that the operator does not allow
        usable = [o.candidate.handler for o in self.consider(
            selection.ANY, [], configured) if o.obstacle is None]
        return [selection.ANY, *usable] if usable else []

    def accelerator(self) -> str | None:
        """Return 'kvm' or 'tcg' for the distribution's QEMU, or None."""
        capabilities = self._capabilities()
        for name in (caps.KVM, caps.TCG):
            if capabilities[name].present:
                return name
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Judged:
    """The answers of a plugin about one of its handlers on this host."""

    hypervisor: str
    plugin: base.Hypervisor
    handler: base.Handler
    verdict: base.Verdict
    withheld: dict[str, str] = dataclasses.field(default_factory=dict)
    isolation: str = 'none'
    tuning: dict[str, Any] = dataclasses.field(default_factory=dict)


def _judge(name: str, plugin: base.Hypervisor, handler: base.Handler,
           host: hosts.Host, capabilities: dict[str, caps.Capability],
           conf: cfg.ConfigOpts) -> _Judged:
    """Ask a plugin; if it fails, only its own handlers are unusable."""
    try:
        verdict = plugin.judge(handler, host, capabilities, conf)
        return _Judged(
            hypervisor=name, plugin=plugin, handler=handler, verdict=verdict,
            withheld=plugin.withheld(handler, host, capabilities),
            isolation=plugin.isolation(handler, verdict.accelerator or ''),
            tuning=plugin.tuning(handler, host))
    except Exception as e:
        return _Judged(
            hypervisor=name, plugin=plugin, handler=handler,
            verdict=base.Verdict(
                usable=False,
                reason=f'its plugin failed: {type(e).__name__}: {e}',
                remedy='Report this to the author of the plugin, or remove '
                       f'{name} from [kata] hypervisor_order.'))
