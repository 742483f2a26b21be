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

"""All plugins keep the contract, and so does the example package."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.hypervisors import base as hypervisors
from kata_openstack.runtime.hypervisors import contract
from kata_openstack.runtime.hypervisors import embedded
from kata_openstack.runtime.hypervisors import upstream
from tests.unit import base

EXAMPLE = (pathlib.Path(__file__).parents[4] / 'examples'
           / 'hypervisor-plugin')


class TestQemu(contract.PluginContract, base.TestCase):
    plugin, name = upstream.Qemu, 'qemu'


class TestClh(contract.PluginContract, base.TestCase):
    plugin, name = upstream.CloudHypervisor, 'clh'


class TestFirecracker(contract.PluginContract, base.TestCase):
    plugin, name = upstream.Firecracker, 'fc'


class TestDragonball(contract.PluginContract, base.TestCase):
    plugin, name = upstream.Dragonball, 'dragonball'


class TestStratoVirt(contract.PluginContract, base.TestCase):
    plugin, name = upstream.StratoVirt, 'stratovirt'


class TestOpenVmm(contract.PluginContract, base.TestCase):
    plugin, name = upstream.OpenVmm, 'openvmm'


class TestRemote(contract.PluginContract, base.TestCase):
    plugin, name = upstream.Remote, 'remote'


class TestSnp(contract.PluginContract, base.TestCase):
    plugin, name = upstream.QemuSnp, 'qemu-snp'


class TestTdx(contract.PluginContract, base.TestCase):
    plugin, name = upstream.QemuTdx, 'qemu-tdx'


class TestSe(contract.PluginContract, base.TestCase):
    plugin, name = upstream.QemuSe, 'qemu-se'


class TestNvidia(contract.PluginContract, base.TestCase):
    plugin, name = upstream.NvidiaGpu, 'nvidia-gpu'


class TestNvidiaSnp(contract.PluginContract, base.TestCase):
    plugin, name = upstream.NvidiaGpuSnp, 'nvidia-gpu-snp'


class TestNvidiaTdx(contract.PluginContract, base.TestCase):
    plugin, name = upstream.NvidiaGpuTdx, 'nvidia-gpu-tdx'


class TestEmbedded(contract.PluginContract, base.TestCase):
    plugin, name = embedded.Embedded, 'embedded'


class Careless(upstream.Qemu):
    """Accepts every host, and claims too much."""

    def judge(self, handler, host, capabilities, conf):
        return hypervisors.Verdict(usable=True, reason='', accelerator='tcg')

    def isolation(self, handler, accelerator):
        return 'perfect'

    def tuning(self, handler, host):
        return {'nonsense': None}

    def withheld(self, handler, host, capabilities):
        return {'wings': 'none'}


class Sloppy(upstream.Qemu):
    """Checks only that its files exist."""

    def judge(self, handler, host, capabilities, conf):
        files = self.files(handler, host, conf)
        if isinstance(files, hypervisors.Problem):
            return hypervisors.Verdict(usable=False, reason=files.reason)
        return hypervisors.Verdict(usable=True, reason='it is installed',
                                   accelerator='kvm', files=files)


class TestTheContractItself(base.TestCase):
    def failures(self, subject):
        class Contract(contract.PluginContract, unittest.TestCase):
            plugin, name = subject, 'careless'

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Contract)(result)
        self.assertEqual([], result.errors)
        return {case._testMethodName for case, _ in result.failures}

    def test_a_sloppy_plugin_fails(self):
        self.assertEqual({
            'test_it_is_installed', 'test_no_other_plugin_has_its_handlers',
            'test_a_foreign_architecture_is_refused',
            'test_an_accelerator_is_needed', 'test_each_need_counts',
            'test_each_need_of_kvm_counts'}, self.failures(Sloppy))

    def test_a_careless_plugin_fails(self):
        self.assertEqual({
            'test_it_is_installed', 'test_no_other_plugin_has_its_handlers',
            'test_an_empty_host_is_refused_with_a_reason',
            'test_no_host_makes_it_raise', 'test_everything_is_enough',
            'test_a_foreign_architecture_is_refused',
            'test_an_accelerator_is_needed', 'test_each_need_counts',
            'test_each_need_of_kvm_counts', 'test_tuning_is_a_drop_in',
            'test_withheld_is_a_part_of_what_is_offered',
            'test_isolation_is_not_claimed_without_hardware'},
            self.failures(Careless))


class TestExample(base.TestCase):
    def test_it_works_from_outside(self):
        """Run it as installed: its code and its entry point's metadata."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        metadata = (pathlib.Path(folder.name)
                    / 'kata_openstack_crosvm-1.0.0.dist-info')
        metadata.mkdir()
        (metadata / 'METADATA').write_text(
            'Metadata-Version: 2.1\nName: kata-openstack-crosvm\n'
            'Version: 1.0.0\n')
        (metadata / 'entry_points.txt').write_text(
            '[kata_openstack.hypervisors]\n'
            'crosvm = kata_crosvm.hypervisor:Crosvm\n')
        done = subprocess.run(
            [sys.executable, '-m', 'unittest', 'discover'], cwd=EXAMPLE,
            capture_output=True, text=True,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(
                (folder.name, str(EXAMPLE), *filter(None, sys.path)))})
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('OK', done.stderr)

    def test_the_project_names_the_same_entry_point(self):
        self.assertIn('crosvm = "kata_crosvm.hypervisor:Crosvm"',
                      (EXAMPLE / 'pyproject.toml').read_text())


class TestArchitectures(base.TestCase):
    def runs_on(self, plugin, handler):
        return plugin.facts.runs_on(next(
            h for h in plugin.facts.handlers if h.name == handler))

    def test_those_of_kata_deploy(self):
        for plugin, handler, others in (
                (upstream.Qemu, 'kata-qemu', {'aarch64', 'ppc64le', 's390x'}),
                (upstream.Qemu, 'kata-qemu-nvidia-cpu', {'aarch64'}),
                (upstream.Qemu, 'kata-qemu-coco-dev', {'s390x'}),
                (upstream.Qemu, 'kata-qemu-coco-dev-runtime-rs',
                 {'aarch64', 's390x'}),
                (upstream.CloudHypervisor, 'kata-clh-azure', set()),
                (upstream.Remote, 'kata-remote', {'ppc64le', 's390x'}),
                (upstream.NvidiaGpu, 'kata-qemu-nvidia-gpu', set()),
                (upstream.NvidiaGpu, 'kata-qemu-nvidia-gpu-runtime-rs',
                 {'aarch64'})):
            self.assertEqual({'x86_64'} | others,
                             self.runs_on(plugin, handler), handler)


class TestTuning(base.TestCase):
    def tuning(self, plugin, handler, **cpu):
        host = contract.host(
            cpu=facts.Cpu(architecture='x86_64', **cpu), kata=self.kata)
        found = {h.name: h for h in plugin.facts.handlers}
        return plugin.tuning(found[handler], host)

    kata: tuple[facts.KataShim, ...] = ()

    def test_bare_metal_keeps_upstreams_timeouts(self):
        self.assertEqual(
            {'hypervisor': {'qemu': {'enable_annotations': []}},
             'runtime': {'static_sandbox_resource_mgmt': True}},
            self.tuning(upstream.Qemu(), 'kata-qemu'))

    def test_nested_guests_get_time(self):
        for plugin, handler, agent in (
                (upstream.Qemu(), 'kata-qemu', {'dial_timeout': 120}),
                (upstream.Qemu(), 'kata-qemu-runtime-rs',
                 {'reconnect_timeout_ms': 120000}),
                (upstream.Dragonball(), 'kata-dragonball',
                 {'reconnect_timeout_ms': 120000})):
            self.assertEqual(
                {'kata': agent},
                self.tuning(plugin, handler, nested=True)['agent'])

    def test_the_table_that_the_configuration_has(self):
        for handler in ('kata-clh-runtime-rs', 'kata-clh',
                        'kata-clh-azure-runtime-rs', 'kata-clh-azure'):
            self.assertEqual({'clh'}, self.tuning(
                upstream.CloudHypervisor(), handler)['hypervisor'].keys())
        self.kata = (facts.KataShim(
            name='clh', runtime_path=pathlib.Path('/shim'),
            config_path=pathlib.Path('/c'), table='other',
            static_sizing=False),)
        found = self.tuning(upstream.CloudHypervisor(), 'kata-clh')
        self.assertEqual({'other'}, found['hypervisor'].keys())
        self.assertNotIn('runtime', found)  # the operator's choice

    def test_ours_has_no_such_file(self):
        self.assertEqual({}, self.tuning(embedded.Embedded(),
                                         'kata-embedded'))
