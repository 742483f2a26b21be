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

import dataclasses
from unittest import mock

from oslo_config import cfg
from oslo_config import fixture as config_fixture

from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.runtime.host import roots
from kata_openstack.runtime.hypervisors import upstream
from kata_openstack.runtime import node
from tests.unit import base
from tests.unit.runtime.host import hosts

ALL = {'kata-clh', 'kata-qemu', 'kata-clh-runtime-rs',
       'kata-qemu-runtime-rs', 'kata-embedded'}


class NodeTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.config = self.useFixture(config_fixture.Config(self.conf))
        self.conf([], default_config_files=[])

    def node(self, emulation=False, **kwargs):
        self.config.config(group='kata', allow_emulation=emulation)
        return node.Node(self.conf,
                         host=hosts.recorded(self, **kwargs).probe())


class TestPrograms(NodeTestCase):
    def host(self, record):
        """Probe a recorded host as this one, with the options' paths."""
        configured = roots.Roots.configured(self.conf)
        with mock.patch.object(roots.Roots, 'configured', lambda conf:
                               dataclasses.replace(
                                   record.roots, qemu=configured.qemu,
                                   virtiofsd=configured.virtiofsd)):
            return node.Node(self.conf).host

    def test_without_options_they_are_searched_for(self):
        record = hosts.recorded(self, programs=(
            'qemu-system-x86_64', 'usr/libexec/virtiofsd'))
        self.config.config(run_path=str(record.root))
        host = self.host(record)
        self.assertEqual(record.root / 'bin/qemu-system-x86_64',
                         host.qemu.path)
        self.assertEqual(record.root / 'usr/libexec/virtiofsd',
                         host.virtiofsd.path)

    def test_the_paths_of_the_options_count(self):
        record = hosts.recorded(self, programs=(
            'qemu-system-x86_64', 'mine/virtiofsd'))
        self.config.config(run_path=str(record.root))
        self.config.config(
            group='embedded', qemu_path=str(record.root / 'mine/qemu'),
            virtiofsd_path=str(record.root / 'mine/virtiofsd'))
        host = self.host(record)
        self.assertIsNone(host.qemu.path)
        self.assertEqual(record.root / 'mine/virtiofsd', host.virtiofsd.path)


class TestHandlers(NodeTestCase):
    def state(self, here, name, configured=None):
        return {s.name: s for s in here.handlers(configured)}[name]

    def test_everything_installed(self):
        here = self.node(kata=hosts.KATA_GO + hosts.KATA_RUST, **hosts.QEMU)
        self.assertEqual(
            ['kata', 'kata-clh-runtime-rs', 'kata-clh',
             'kata-qemu-runtime-rs', 'kata-qemu', 'kata-embedded'],
            here.runtimes(ALL))
        self.assertEqual(320, self.state(here, 'kata-qemu').overhead_mib)
        self.assertEqual('kvm', self.state(here, 'kata-qemu').accelerator)

    def test_nothing_usable(self):
        here = self.node(measured=hosts.INTERPRETING, **hosts.QEMU)
        self.assertEqual([], here.runtimes(ALL))
        self.assertIsNone(here.accelerator())
        for state in here.handlers(ALL):
            self.assertIn('KVM is emulated', state.reason)
            self.assertTrue(state.remedy)

    def test_emulation_where_it_is_allowed(self):
        here = self.node(True, measured=hosts.INTERPRETING, **hosts.QEMU)
        self.assertEqual(['kata', 'kata-embedded'], here.runtimes(ALL))
        self.assertEqual('tcg', here.accelerator())
        state = self.state(here, 'kata-embedded')
        self.assertEqual('tcg', state.accelerator)
        self.assertIn('because KVM is emulated', state.reason)

    def test_kvm_goes_before_emulation(self):
        here = self.node(True, **hosts.QEMU)
        self.assertEqual('kvm', here.accelerator())
        self.assertEqual('kvm',
                         self.state(here, 'kata-embedded').accelerator)

    def test_qemu_needs_vsock_and_clh_does_not(self):
        here = self.node(kata=hosts.KATA_GO, devices=('kvm', 'net/tun'))
        self.assertEqual(['kata', 'kata-clh'], here.runtimes(ALL))
        self.assertIn('vhost-vsock', self.state(here, 'kata-qemu').reason)

    def test_clh_runs_on_mshv(self):
        here = self.node(kata=hosts.KATA_GO, devices=('mshv', 'net/tun'))
        self.assertEqual('mshv', self.state(here, 'kata-clh').accelerator)

    def test_a_plugin_that_fails_costs_only_itself(self):
        here = self.node(kata=hosts.KATA_GO)
        for method in ('judge', 'withheld', 'isolation', 'tuning'):
            with mock.patch.object(upstream.CloudHypervisor, method,
                                   side_effect=KeyError('kernel')):
                self.assertEqual(['kata', 'kata-qemu'], here.runtimes(ALL))
                state = self.state(here, 'kata-clh')
                self.assertIn("its plugin failed: KeyError: 'kernel'",
                              state.reason)
                self.assertIn('clh', state.remedy)
                self.assertNotIn('kata-clh', {
                    handler.name for handler in (
                        *here.files(), *here.tunings())})

    def test_not_installed(self):
        state = self.state(self.node(), 'kata-clh')
        self.assertFalse(state.usable)
        self.assertIn('configuration-clh.toml', state.reason)
        self.assertIn('kata_root', state.remedy)

    def test_not_configured_in_containerd(self):
        here = self.node(kata=hosts.KATA_GO)
        state = self.state(here, 'kata-qemu', {'kata-clh'})
        self.assertFalse(state.usable)
        self.assertIn('containerd config', state.remedy)
        self.assertEqual(['kata', 'kata-clh'], here.runtimes({'kata-clh'}))
        self.assertEqual([], here.runtimes(set()))

    def test_another_architecture(self):
        here = self.node(architecture='riscv64', kata=hosts.KATA_GO)
        self.assertIn('riscv64', self.state(here, 'kata-clh').reason)

    def test_only_what_the_order_names(self):
        self.config.config(group='kata', hypervisor_order=['qemu', 'nope'])
        here = self.node(kata=hosts.KATA_GO, **hosts.QEMU)
        self.assertEqual(['kata', 'kata-qemu'], here.runtimes(ALL))


class TestChoose(NodeTestCase):
    def test_choose_for_me(self):
        here = self.node(kata=hosts.KATA_GO, **hosts.QEMU)
        choice = here.choose('kata', [], ALL)
        self.assertEqual('kata-clh', choice.handler)
        self.assertEqual('clh', choice.hypervisor)
        self.assertEqual('kvm', choice.accelerator)
        self.assertEqual((130, 0.25),
                         (choice.overhead_mib, choice.overhead_cpus))
        self.assertIn('clh, qemu, embedded', choice.reason)

    def test_a_need_moves_the_choice(self):
        here = self.node(kata=hosts.KATA_GO, files=hosts.TEMPLATES)
        self.assertEqual('kata-qemu', here.choose(
            'kata', ['vm-template'], ALL).handler)

    def test_an_offer_that_is_switched_off(self):
        here = self.node(kata=hosts.KATA_GO)
        e = self.assertRaises(exception.NoHandler, here.choose, 'kata',
                              ['vm-template'], ALL)
        self.assertIn('kata-qemu: it does not offer vm-template here: its '
                      'configuration does not set enable_template', str(e))

    def test_an_offer_without_its_snapshotter(self):
        record = hosts.recorded(self, kata=hosts.KATA_GO)
        for names, nydus, block in ((('overlayfs',), False, False),
                                    (('devmapper', 'nydus'), True, True)):
            client = mock.Mock(version=lambda: '2.1.9',
                               snapshotters=lambda names=names: names)
            here = node.Node(self.conf, host=record.probe(
                containerd_client=client))
            clh = next(s for s in here.handlers() if s.name == 'kata-clh')
            self.assertEqual(nydus, 'nydus' in clh.offers)
            self.assertEqual(block, 'block-rootfs' in clh.offers)

    def test_asked_for(self):
        here = self.node(kata=hosts.KATA_GO)
        choice = here.choose('kata-qemu', [], ALL)
        self.assertEqual('kata-qemu', choice.handler)
        self.assertIn('requested by name', choice.reason)

    def test_never_runc(self):
        here = self.node(kata=hosts.KATA_GO)
        self.assertRaises(exception.UnknownRuntime, here.choose, 'runc', [],
                          ALL | {'runc'})

    def test_no_handler_says_why(self):
        here = self.node(measured=hosts.INTERPRETING)
        e = self.assertRaises(exception.NoHandler, here.choose, 'kata', [],
                              ALL)
        for name in ALL:
            self.assertIn(name, str(e))
        self.assertIn('emulation is not allowed', str(e))


class TestPolicy(NodeTestCase):
    def everything(self, **kwargs):
        self.config.config(group='kata', **kwargs)
        return self.node(kata=hosts.KATA_GO, **hosts.QEMU)

    def test_allowed_handlers(self):
        here = self.everything(allowed_handlers=['kata-qemu'])
        self.assertEqual(['kata', 'kata-qemu'], here.runtimes(ALL))
        self.assertEqual('kata-qemu', here.choose('kata', [], ALL).handler)
        e = self.assertRaises(exception.NoHandler, here.choose, 'kata-clh',
                              [], ALL)
        self.assertIn('allowed_handlers does not name it', str(e))

    def test_emulation_is_no_hardware(self):
        self.config.config(group='kata', minimum_isolation='hardware')
        here = self.node(True, measured=hosts.INTERPRETING, **hosts.QEMU)
        self.assertEqual([], here.runtimes(ALL))
        self.assertIn('its isolation is none, not hardware', str(
            self.assertRaises(exception.NoHandler, here.choose,
                              'kata-embedded', [], ALL)))

    def test_a_request_asks_for_more_and_never_for_less(self):
        here = self.everything()
        self.assertRaises(exception.NoHandler, here.choose, 'kata', [], ALL,
                          isolation='confidential')
        self.config.config(group='kata', minimum_isolation='confidential')
        self.assertRaises(exception.NoHandler, here.choose, 'kata', [], ALL,
                          isolation='none')

    def test_size(self):
        e = self.assertRaises(exception.NoHandler, self.everything().choose,
                              'kata', [], ALL, cpus=1000)
        self.assertIn('kata-clh: it supports 256 vCPUs at most', str(e))

    def test_the_smallest_vm_counts_the_overhead(self):
        here = self.node(kata=hosts.KATA_GO)
        [state] = [s for s in here.handlers() if s.name == 'kata-qemu']
        for smallest, least in ((64, None), (320, None), (512, 192)):
            self.assertEqual(least, dataclasses.replace(
                state, min_memory_mib=smallest).candidate().min_memory_mib)

    def test_why_not(self):
        opinions = {o.candidate.handler: o.obstacle for o in
                    self.everything().consider('kata', ['vfio'], ALL)}
        self.assertIn('no IOMMU groups', opinions['kata-clh'])
        self.assertIn('does not offer vfio', opinions['kata-embedded'])
