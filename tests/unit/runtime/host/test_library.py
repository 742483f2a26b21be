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

"""Each recorded host gets the verdicts that are known to be right."""

import json

from oslo_config import cfg
from oslo_config import fixture as config_fixture

from kata_openstack.conf import opts
from kata_openstack.runtime.hypervisors import loader
from kata_openstack.runtime import node
from tests.unit import base
from tests.unit.runtime.host import hosts
from tests.unit.runtime.host import library


class TestLibrary(base.TestCase):
    def setUp(self):
        super().setUp()
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        config = self.useFixture(config_fixture.Config(self.conf))
        self.conf([], default_config_files=[])
        config.config(group='kata', hypervisor_order=sorted(
            loader.installed()))

    def host(self, name):
        return hosts.recorded(self, **{
            'kata': hosts.KATA_ALL, **hosts.QEMU,
            **library.HOSTS[name].host}).probe()

    def test_every_host(self):
        for name, known in library.HOSTS.items():
            with self.subTest(name):
                self.check(known, self.host(name))

    def check(self, known, host):
        self.assertEqual(known.kvm, host.kvm.state)
        self.assertEqual(known.hypervisor, host.cpu.hypervisor)
        self.assertEqual(bool(known.hypervisor), host.nested)
        self.assertEqual(known.nova, host.instance.nova)
        self.assertEqual((), host.unreadable)
        states = {s.name.removeprefix('kata-'): s
                  for s in node.Node(self.conf, host=host).handlers()}
        self.assertEqual(known.usable,
                         {n for n, s in states.items() if s.usable})
        for handler, words in known.against.items():
            self.assertIn(words, states[handler].reason.replace(
                str(host.kata_root.parent), ''))
        for state in states.values():
            self.assertTrue(state.reason)
        json.dumps(host.to_dict())

    def test_what_is_wrong_has_a_remedy(self):
        for name, words in (
                ('small-shm', '--shm-size'),
                ('no-vsock', 'blacklist vmw_vsock_vmci_transport'),
                ('no-kvm', 'trait:HW_CPU_X86_VMX=required'),
                ('nested-without-ept', 'Guests are slow without EPT'),
                ('github-runner', 'add the user to the group'),
                ('bare-metal-amd', 'Confidential guests need a CPU')):
            with self.subTest(name):
                self.assertIn(words, ' '.join(
                    f.remedy for f in self.host(name).findings()))

    def test_each_distribution_has_its_own_package_of_virtiofsd(self):
        self.assertEqual(
            {'debian-12': ('usr/lib/qemu/virtiofsd', 'qemu-system-common'),
             'debian-13': ('usr/libexec/virtiofsd', 'virtiofsd'),
             'ubuntu-24.04': ('usr/libexec/virtiofsd', 'virtiofsd')},
            {name: self.virtiofsd(name) for name in library.DISTRIBUTIONS})

    def virtiofsd(self, name):
        """Where it is found, and the package to install if it is not."""
        record = hosts.recorded(self, **library.HOSTS[name].host)
        path = record.probe().virtiofsd.path
        path.unlink()
        remedy = record.probe().virtiofsd.remedy
        return (str(path.relative_to(record.root)),
                remedy.removeprefix('Install it: apt-get install '))

    def test_a_nova_instance_with_nesting_needs_nothing(self):
        self.assertEqual('', self.host('nested-with-ept').instance.remedy)

    def test_vfio_is_withheld_without_an_iommu(self):
        found = {}
        for name in ('bare-metal-intel', 'bare-metal-amd'):
            here = node.Node(self.conf, host=self.host(name))
            found[name] = {s.name: s for s in here.handlers()}['kata-clh']
        self.assertIn('vfio', found['bare-metal-intel'].offers)
        self.assertNotIn('vfio', found['bare-metal-amd'].offers)
        self.assertIn('no IOMMU groups',
                      found['bare-metal-amd'].withheld['vfio'])

    def offering(self, name, **host):
        here = node.Node(self.conf, host=hosts.recorded(self, **{
            'kata': hosts.KATA_ALL, **hosts.QEMU, **host}).probe())
        return {s.name for s in here.handlers() if name in s.offers}

    def test_what_upstreams_configuration_has_switched_off(self):
        # upstream ships the Go runtime's handlers without static sizing
        self.assertEqual({'kata-qemu'}, self.offering('resize'))
        self.assertEqual({'kata-qemu', 'kata-clh'},
                         self.offering('cpu-hotplug'))
        self.assertEqual({'kata-embedded'}, self.offering('vm-template'))
        self.assertNotIn('kata-fc', self.offering('shared-fs'))
        self.assertNotIn('kata-qemu-snp', self.offering('shared-fs'))
        self.assertIn('kata-qemu', self.offering('shared-fs'))

    def test_each_runtime_has_its_own_place_for_templates(self):
        go, rust = hosts.KATA_GO[1], hosts.KATA_RUST[1]
        for file, table, handler in (
                (go, 'factory', 'kata-qemu'),
                (rust, 'hypervisor.qemu.factory', 'kata-qemu-runtime-rs')):
            text = f'[{table}]\nenable_template = true\n'
            self.assertEqual(
                {'kata-embedded', handler}, self.offering(
                    'vm-template', files={f'kata/{file}': text}))

    def test_a_file_that_is_not_there(self):
        record = hosts.recorded(self, kata=hosts.KATA_GO)
        (record.root / 'kata/share/kata-containers/vmlinux').unlink()
        here = node.Node(self.conf, host=record.probe())
        [state] = [s for s in here.handlers() if s.name == 'kata-qemu']
        self.assertFalse(state.usable)
        self.assertIn('names files that do not exist: kernel', state.reason)
