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

"""The contract of hypervisor plugins, as tests.

To test a plugin in another package::

    import unittest

    from kata_openstack.runtime.hypervisors import contract


    class MyContract(contract.PluginContract, unittest.TestCase):
        plugin = my_package.MyHypervisor
        name = 'mine'

The tests need only the standard library's unittest and this package. They
use neither KVM nor containerd.
"""

import dataclasses
import json
import pathlib
import re
from typing import Any

from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack import needs
from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.host import facts as host_facts
from kata_openstack.runtime.host import report as hosts
from kata_openstack.runtime.hypervisors import base
from kata_openstack.runtime.hypervisors import loader
from kata_openstack.runtime import selection

# Architectures in the kernel's spelling.
ARCHITECTURES = ('aarch64', 'ppc64le', 'riscv64', 's390x', 'x86_64')
# The tables of upstream's drop-ins; upstream ignores all others.
_TABLES = {'agent', 'factory', 'hypervisor', 'image', 'runtime'}


def host(architecture: str = 'x86_64', **kwargs: Any) -> hosts.Host:
    """Return a host on which nothing works, except for ``kwargs``."""
    nothing = host_facts.Device(
        path='/dev/nothing', state=host_facts.DeviceState.ABSENT,
        reason='it does not exist')
    missing = host_facts.Program(name='none', path=None,
                                 reason='it is not installed')
    values: dict[str, Any] = {
        'boot_id': 'boot', 'cpu': host_facts.Cpu(architecture=architecture),
        'kvm': host_facts.Kvm(state=host_facts.KvmState.ABSENT,
                              reason='there is no /dev/kvm'),
        'mshv': nothing, 'vhost_vsock': nothing, 'tun': nothing,
        'qemu': missing, 'virtiofsd': missing,
        'kata_root': pathlib.Path('/nowhere')}
    return hosts.Host(**{**values, **kwargs})


def capabilities(present: bool, *names: str) -> dict[str, caps.Capability]:
    """Return all known capabilities and ``names``, present or missing."""
    known = {*caps.capabilities(host(), allow_emulation=False), *names}
    return {name: caps.Capability(name=name, present=present,
                                  reason=f'{name} is ' + (
                                      'present' if present else 'missing'))
            for name in known}


def _files(handler: base.Handler, host: hosts.Host,
           conf: cfg.ConfigOpts) -> base.Files:
    return base.Files(runtime_path=pathlib.Path('/shim'),
                      config_path=pathlib.Path('/config'))


class PluginContract:
    """A mixin for a TestCase that tests one plugin.

    :cvar plugin: a subclass of :class:`.base.Hypervisor`.
    :cvar name: its entry point in ``kata_openstack.hypervisors``; empty to
        skip the test of the installation.
    """

    plugin: type[base.Hypervisor]
    name: str = ''

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.conf([], default_config_files=[])
        self.hypervisor = self.plugin()
        self.facts = self.hypervisor.facts
        # a plugin that finds its files, so that only the host counts
        self.installed = self.plugin()
        self.installed.files = _files  # type: ignore[method-assign]

    def hosts(self) -> list[hosts.Host]:
        return [host(architecture) for architecture in ARCHITECTURES]

    def test_it_is_installed(self) -> None:
        if self.name:
            assert isinstance(loader.installed().get(self.name),
                              self.plugin), (
                f'no entry point {self.name} in {loader.NAMESPACE}')

    def test_handlers_have_sound_names(self) -> None:
        assert self.facts.handlers, 'facts.handlers is empty'
        names = [h.name for h in self.facts.handlers]
        assert len(names) == len(set(names)), names
        for handler in self.facts.handlers:
            # it is also a file name, a TOML key and a value of --runtime
            assert re.fullmatch(r'[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?',
                                handler.name), handler.name
            assert handler.name != selection.ANY, handler.name
            assert re.fullmatch(r'io\.containerd\.[a-z0-9.-]+\.v[0-9]+',
                                handler.runtime_type), handler.runtime_type

    def test_no_other_plugin_has_its_handlers(self) -> None:
        ours = {h.name for h in self.facts.handlers}
        for name, other in loader.installed().items():
            if type(other) is not self.plugin:
                taken = ours & {h.name for h in other.facts.handlers}
                assert not taken, f'{taken} belong to {name}'

    def test_facts_are_sound(self) -> None:
        facts = self.facts
        assert facts.accelerators, 'facts.accelerators is empty'
        assert set(facts.accelerators) <= set(caps.ACCELERATORS), (
            facts.accelerators)
        assert facts.architectures <= set(ARCHITECTURES), (
            facts.architectures)
        assert facts.overhead_mib > 0, facts.overhead_mib
        assert facts.overhead_cpus >= 0, facts.overhead_cpus
        assert facts.max_vcpus >= 1, facts.max_vcpus
        assert facts.min_memory_mib >= 0, facts.min_memory_mib
        for handler in facts.handlers:
            assert handler.architectures <= facts.architectures, handler
            assert handler.offers <= set(needs.NEEDS), handler.offers

    def test_an_empty_host_is_refused_with_a_reason(self) -> None:
        for where in self.hosts():
            for handler in self.facts.handlers:
                verdict = self.hypervisor.judge(
                    handler, where, capabilities(False), self.conf)
                assert not verdict.usable, handler.name
                assert verdict.reason.strip(), handler.name

    def test_no_host_makes_it_raise(self) -> None:
        for where in self.hosts():
            for handler in self.facts.handlers:
                for present in (False, True):
                    known = capabilities(present)
                    verdict = self.hypervisor.judge(handler, where, known,
                                                    self.conf)
                    assert verdict.reason.strip(), handler.name
                    if verdict.usable:
                        assert verdict.files, handler.name
                        assert (verdict.accelerator
                                in self.facts.accelerators)
                    self.hypervisor.withheld(handler, where, known)
                # a host without any of the capabilities that it names
                self.hypervisor.judge(handler, where, {}, self.conf)
                self.hypervisor.withheld(handler, where, {})

    def test_everything_is_enough(self) -> None:
        """A host with all needs is accepted; the first accelerator is used."""
        for handler in self.facts.handlers:
            for architecture in self.facts.runs_on(handler):
                verdict = self.installed.judge(
                    handler, host(architecture), self.everything(),
                    self.conf)
                assert verdict.usable, verdict
                assert verdict.accelerator == self.facts.accelerators[0]
                assert verdict.files and verdict.reason.strip(), verdict

    def test_a_foreign_architecture_is_refused(self) -> None:
        for handler in self.facts.handlers:
            foreign = ({*ARCHITECTURES, 'vax'}
                       - self.facts.runs_on(handler))
            for architecture in foreign:
                assert not self.installed.judge(
                    handler, host(architecture), self.everything(),
                    self.conf).usable, (handler.name, architecture)

    def everything(self, *absent: str) -> dict[str, caps.Capability]:
        """Return all capabilities; those in ``absent`` are missing."""
        known = capabilities(True, *self.facts.needs, *self.facts.kvm_needs)
        return {name: dataclasses.replace(found, present=name not in absent)
                for name, found in known.items()}

    def assert_refused_without(self, *absent: str) -> None:
        for handler in self.facts.handlers:
            verdict = self.installed.judge(
                handler, host(min(self.facts.runs_on(handler))),
                self.everything(*absent), self.conf)
            assert not verdict.usable, (handler.name, absent)
            assert verdict.reason.strip(), (handler.name, absent)

    def test_each_need_counts(self) -> None:
        """A host that lacks any one of the needs is refused."""
        for need in self.facts.needs:
            self.assert_refused_without(need)

    def test_an_accelerator_is_needed(self) -> None:
        self.assert_refused_without(*self.facts.accelerators)

    def test_each_need_of_kvm_counts(self) -> None:
        others = set(self.facts.accelerators) - {caps.KVM}
        for need in self.facts.kvm_needs:
            self.assert_refused_without(need, *others)

    def test_more_never_turns_yes_into_no(self) -> None:
        everything = self.everything()
        for handler in self.facts.handlers:
            architecture = min(self.facts.runs_on(handler))
            best = self.installed.judge(handler, host(architecture),
                                         everything, self.conf)
            for name in everything:
                less = {**everything, name: dataclasses.replace(
                    everything[name], present=False)}
                verdict = self.installed.judge(
                    handler, host(architecture), less, self.conf)
                assert best.usable or not verdict.usable, name

    def test_withheld_is_a_part_of_what_is_offered(self) -> None:
        for handler in self.facts.handlers:
            withheld = self.hypervisor.withheld(
                handler, host(), capabilities(False))
            assert withheld.keys() <= handler.offers, withheld
            assert all(reason.strip() for reason in withheld.values())

    def test_isolation_is_not_claimed_without_hardware(self) -> None:
        for handler in self.facts.handlers:
            for accelerator in self.facts.accelerators:
                level = self.hypervisor.isolation(handler, accelerator)
                assert level in needs.ISOLATION, level
                if accelerator not in caps.HARDWARE:
                    assert level == 'none', (
                        f'{handler.name} on {accelerator}: {level}')

    def test_tuning_is_a_drop_in(self) -> None:
        for where in self.hosts():
            for handler in self.facts.handlers:
                tables = self.hypervisor.tuning(handler, where)
                assert tables.keys() <= _TABLES, tables
                assert all(isinstance(t, dict) for t in tables.values())
                # TOML has no null, and json.dumps refuses the types that
                # JSON does not have
                assert 'null' not in re.split(r'\W+', json.dumps(tables))

    def test_it_holds_no_state(self) -> None:
        """One object serves all threads, so two must give the same answer."""
        other = self.plugin()
        for handler in self.facts.handlers:
            for present in (True, False):
                known = capabilities(present)
                assert (self.hypervisor.judge(handler, host(), known,
                                              self.conf)
                        == other.judge(handler, host(), known, self.conf))

    def test_selection_respects_its_offers(self) -> None:
        for handler in self.facts.handlers:
            candidate = selection.Candidate(
                handler=handler.name, hypervisor=self.name or 'it',
                usable=True, reason='it is usable', offers=handler.offers)
            for need in needs.NEEDS:
                try:
                    selection.choose(handler.name, [need], [candidate])
                    chosen = True
                except exception.NoHandler:
                    chosen = False
                assert chosen == (need in handler.offers), need
