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

"""What this node can isolate, and the choice of a handler for a pod."""

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

    ``min_memory_mib`` is of the VM, which has the overhead as well.
    ``withheld``: what the handler offers on other hosts, and why not here.
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
        # a VM has the pod's memory and the overhead
        least = (self.min_memory_mib or 0) - self.overhead_mib
        return selection.Candidate(
            handler=self.name, hypervisor=self.hypervisor,
            usable=self.usable, reason=self.reason,
            offers=frozenset(self.offers), withheld=self.withheld,
            isolation=self.isolation, max_vcpus=self.max_vcpus,
            min_memory_mib=least if least > 0 else None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The handler for one pod; the overhead is to be added to its size."""

    handler: str
    hypervisor: str
    accelerator: str
    reason: str
    overhead_mib: int
    overhead_cpus: float


class Node:
    """Holds the probe's answer; make a new one to look at the host again.

    :param conf: with the groups DEFAULT, kata and embedded registered.
    :param host: a recorded host; None probes this one, on first use.
    :param containerd: tells the probe of snapshotters; None if nobody can.
    """

    def __init__(self, conf: cfg.ConfigOpts,
                 host: hosts.Host | None = None,
                 containerd: containerd_api.Client | None = None) -> None:
        self._conf = conf
        self._host = host
        self._containerd = containerd
        # What experience says against a handler: the canaries'
        self.doubt: Callable[[str], base.Problem | None] = lambda name: None

    @property
    def host(self) -> hosts.Host:
        if self._host is None:
            self.refresh(measure=False)
        assert self._host is not None
        return self._host

    def refresh(self, *, measure: bool = True) -> None:
        """Look at the host again; ``measure``: KVM too, see the probe."""
        embedded = self._conf.embedded
        self._host = probe.probe(
            host_roots.Roots(
                kata=pathlib.Path(self._conf.kata.kata_root),
                qemu=pathlib.Path(embedded.qemu_path),
                virtiofsd=pathlib.Path(embedded.virtiofsd_path)),
            cache=pathlib.Path(self._conf.run_path) / 'kvm.json',
            refresh=measure, containerd_client=self._containerd,
            metadata=(instance.ask_metadata
                      if self._conf.kata.ask_metadata_service else None))

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
        """Every handler of the hypervisors in the order, judged.

        :param configured: the handlers that containerd has; None if
            that is not known, which counts nothing against a handler.
        :param doubted: whether :attr:`doubt` counts.
        """
        states = []
        for judged in self._judge():
            handler, verdict = judged.handler, judged.verdict
            facts = judged.plugin.facts
            if (verdict.usable and configured is not None
                    and handler.name not in configured):
                verdict = base.Verdict(
                    usable=False, accelerator=verdict.accelerator,
                    reason='containerd has no runtime of that name',
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
        """Shim and configuration of each handler that this host can run."""
        return {judged.handler: judged.verdict.files
                for judged in self._judge()
                if judged.verdict.usable and judged.verdict.files}

    def tunings(self) -> dict[base.Handler, dict[str, Any]]:
        """What the configuration of each of these must say on this host."""
        return {judged.handler: judged.tuning for judged in self._judge()
                if judged.verdict.usable and judged.verdict.files}

    def consider(self, runtime: str, needs: Collection[str],
                 configured: Collection[str] | None = None, *,
                 isolation: str = 'none', cpus: float | None = None,
                 memory_mib: int | None = None) -> list[selection.Opinion]:
        """What speaks against each handler, see :func:`choose`."""
        return selection.consider(
            runtime, needs, [s.candidate() for s in
                             self.handlers(configured)],
            isolation=self._isolation(isolation), allowed=self._allowed(),
            cpus=cpus, memory_mib=memory_mib)

    def choose(self, runtime: str, needs: Collection[str],
               configured: Collection[str] | None = None, *,
               isolation: str = 'none', cpus: float | None = None,
               memory_mib: int | None = None) -> Choice:
        """The handler for a pod; what the operator demands is added.

        :param runtime: ``kata`` (choose for me) or a handler's name.
        :param needs: keys of :data:`.needs.NEEDS`.
        :param isolation: one of :data:`.needs.ISOLATION`.
        :param cpus: of the pod, None if it asks for none.
        :param memory_mib: of the pod, None if it asks for none.
        :raises UnknownRuntime: for a runtime that no hypervisor has.
        :raises NoHandler: if none satisfies, with the reasons.
        """
        states = {s.name: s for s in self.handlers(configured)}
        chosen = selection.choose(
            runtime, needs, [s.candidate() for s in states.values()],
            isolation=self._isolation(isolation), allowed=self._allowed(),
            cpus=cpus, memory_mib=memory_mib)
        state = states[chosen.handler]
        assert state.accelerator is not None
        how = ('it was asked for' if runtime != selection.ANY
               else 'first that can run it in the order '
                    f'{", ".join(self._conf.kata.hypervisor_order)}')
        return Choice(
            handler=state.name, hypervisor=state.hypervisor,
            accelerator=state.accelerator,
            reason=f'{how}; {state.reason}',
            overhead_mib=state.overhead_mib,
            overhead_cpus=state.overhead_cpus)

    def _isolation(self, asked: str) -> str:
        """The stronger of what is asked and what the operator demands."""
        if asked not in pod_needs.ISOLATION:
            return asked  # selection has the words for it
        return pod_needs.strongest(
            asked, self._conf.kata.minimum_isolation)

    def _allowed(self) -> frozenset[str] | None:
        """The operator's choice of handlers; None for all."""
        return frozenset(self._conf.kata.allowed_handlers) or None

    def runtimes(self,
                 configured: Collection[str] | None = None) -> list[str]:
        """What Zun may ask for: ``kata`` first; empty if none is usable."""
        # a handler that no pod may have is not advertised
        usable = [o.candidate.handler for o in self.consider(
            selection.ANY, [], configured) if o.obstacle is None]
        return [selection.ANY, *usable] if usable else []

    def accelerator(self) -> str | None:
        """'kvm' or 'tcg' for QEMU of the distribution; None for neither."""
        capabilities = self._capabilities()
        for name in (caps.KVM, caps.TCG):
            if capabilities[name].present:
                return name
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Judged:
    """All that a plugin says of one of its handlers on this host."""

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
    """A plugin that fails costs its own handlers, and no others."""
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
                remedy='Report it to whoever ships the plugin, or take '
                       f'{name} out of [kata] hypervisor_order.'))
