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

import io
import json
import socket
import tomllib
from unittest import mock

import fixtures

from kata_openstack.cli import containerd
from kata_openstack.cli import shell
from kata_openstack.cmd import cli
from kata_openstack.runtime.canary import records
from tests.unit import base
from tests.unit.runtime.host import hosts


class TestCli(base.TestCase):
    """The real command, with the probe result of a recorded host."""

    def run_cli(self, *argv, config='', **host):
        record = hosts.recorded(self, **host)
        self.useFixture(fixtures.MockPatch(
            'kata_openstack.runtime.node.probe.probe',
            return_value=record.probe()))
        file = record.root / 'node.conf'
        # no containerd listens on the address below
        self.run_path = record.root / 'run'
        self.prepare()
        file.write_text(f'[DEFAULT]\nrun_path = {self.run_path}\n'
                        f'{config}\n[containerd]\n'
                        f'address = {record.root}/containerd.sock\n')
        app = shell.KataOpenstack()
        app.stdout = io.StringIO()
        app.stderr = io.StringIO()
        code = app.run(['--config-file', str(file), *argv])
        return code, app.stdout.getvalue()

    def prepare(self):
        """Hook that subclasses use to create files before the command runs."""

    def test_host_check_json(self):
        code, out = self.run_cli('host', 'check', '-f', 'json',
                                 kata=hosts.KATA_GO)
        self.assertEqual(0, code)
        answer = json.loads(out)
        self.assertEqual('hardware', answer['kvm']['state'])
        self.assertEqual(2989781022, answer['kvm']['iterations_per_second'])
        self.assertIs(False, answer['nested'])
        handlers = {h['name']: h for h in answer['handlers']}
        self.assertTrue(handlers['kata-qemu']['usable'])
        self.assertFalse(handlers['kata-qemu-runtime-rs']['usable'])
        self.assertTrue(handlers['kata-qemu-runtime-rs']['reason'])
        self.assertIs(False, answer['containerd']['reachable'])
        self.assertIsNone(handlers['kata-qemu']['configured'])

    def test_host_check_table(self):
        code, out = self.run_cli('host', 'check',
                                 measured=hosts.INTERPRETING)
        self.assertEqual(1, code)
        self.assertIn('interpreted', out)
        self.assertIn('kata-clh', out)
        self.assertIn('    Remedy: ', out)
        self.assertLessEqual(max(map(len, out.splitlines())), 100)

    def test_host_check_other_formats(self):
        for name in ('value', 'shell', 'yaml'):
            code, out = self.run_cli('host', 'check', '-f', name,
                                     kata=hosts.KATA_GO)
            self.assertEqual(0, code)
            self.assertIn('kata-qemu', out)

    def test_the_configuration_file_counts(self):
        _, out = self.run_cli('host', 'check', '-f', 'json',
                              config='[kata]\nhypervisor_order = qemu\n')
        self.assertEqual({'qemu'}, {h['hypervisor'] for h in
                                    json.loads(out)['handlers']})

    def test_host_check_shows_canaries(self):
        def prepare():
            records.store(self.run_path / 'canary.json', {
                'kata-qemu': records.Record(
                    key='', passed=False, at=0, seconds=45.1,
                    error='dial timeout', failures=2),
                'kata-clh': records.Record(
                    key='', passed=True, at=0, seconds=0.4)})

        self.prepare = prepare
        _, out = self.run_cli('host', 'check', '-f', 'json',
                              kata=hosts.KATA_GO)
        handlers = {h['name']: h for h in json.loads(out)['handlers']}
        self.assertFalse(handlers['kata-qemu']['usable'])
        self.assertIn('dial timeout', handlers['kata-qemu']['reason'])
        self.assertIn('1970-01-01', handlers['kata-qemu']['reason'])
        self.assertEqual('dial timeout',
                         handlers['kata-qemu']['canary']['error'])
        self.assertTrue(handlers['kata-clh']['usable'])
        self.assertEqual(0.4, handlers['kata-clh']['canary']['seconds'])
        _, out = self.run_cli('host', 'check', kata=hosts.KATA_GO)
        self.assertIn('0.40 s', out)

    def test_a_containerd_that_hangs(self):
        def prepare():
            hung = socket.socket(socket.AF_UNIX)
            self.addCleanup(hung.close)
            hung.bind(str(self.run_path.parent / 'containerd.sock'))
            hung.listen()

        self.prepare = prepare
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.host.checks.containerd_api.TIMEOUT', 0.1))
        code, out = self.run_cli('host', 'check', '-f', 'json',
                                 kata=hosts.KATA_GO)
        self.assertEqual(0, code)
        told = json.loads(out)['containerd']
        self.assertFalse(told['reachable'])
        self.assertIn('longer than the limit', told['reason'])

    def test_host_show(self):
        code, out = self.run_cli('host', 'show', '-f', 'json',
                                 kata=hosts.KATA_GO)
        self.assertEqual(0, code)
        answer = json.loads(out)
        self.assertEqual('hardware', answer['kvm']['state'])
        self.assertIn('kvm', {f['name'] for f in answer['findings']})

    def test_host_show_table(self):
        code, out = self.run_cli('host', 'show',
                                 measured=hosts.INTERPRETING)
        self.assertEqual(0, code)
        self.assertIn('interpreted', out)

    def select(self, *argv, **host):
        code, out = self.run_cli('host', 'select', '-f', 'json', *argv,
                                 **host)
        return code, {r['handler']: (r['verdict'], r['reason'])
                      for r in json.loads(out)}

    def test_host_select(self):
        code, rows = self.select('--need', 'vm-template',
                                 kata=hosts.KATA_GO, files=hosts.TEMPLATES,
                                 **hosts.QEMU)
        self.assertEqual(0, code)
        self.assertEqual(('ruled out', 'it does not offer vm-template'),
                         rows['kata-clh'])
        self.assertEqual('chosen', rows['kata-qemu'][0])
        self.assertEqual(('usable', 'kata-qemu comes before it'),
                         rows['kata-embedded'])

    def test_host_select_that_nothing_satisfies(self):
        code, rows = self.select('--need', 'vfio', '--need', 'resize',
                                 measured=hosts.INTERPRETING)
        self.assertEqual(1, code)
        self.assertEqual({'ruled out'}, {v for v, _ in rows.values()})

    def test_host_select_wrong_input(self):
        code, _ = self.run_cli('host', 'select', '--runtime', 'runc')
        self.assertEqual(1, code)
        e = self.assertRaises(SystemExit, self.run_cli, 'host', 'select',
                              '--need', 'speed')
        self.assertEqual(2, e.code)

    def test_containerd_show(self):
        code, out = self.run_cli('containerd', 'show',
                                 '--containerd-version', '1.7',
                                 kata=hosts.KATA_GO)
        self.assertEqual(0, code)
        self.assertLessEqual({'kata-clh', 'kata-qemu'}, set(
            tomllib.loads(out)['plugins']['io.containerd.grpc.v1.cri'][
                'containerd']['runtimes']))

    def test_containerd_show_without_a_usable_handler(self):
        with self.assertLogs('run', 'ERROR') as logs:
            code, _ = self.run_cli('containerd', 'show',
                                   '--containerd-version', '1.7',
                                   measured=hosts.INTERPRETING)
        self.assertEqual(1, code)
        self.assertIn('host check', logs.output[0])

    def prepare_embedded(self, *argv, **host):
        """Return exit code and accelerator of "embedded prepare"."""
        with mock.patch('kata_openstack.cli.embedded.preparation.prepare',
                        return_value='/path') as prepare:
            code, _ = self.run_cli('embedded', 'prepare', *argv, **host)
        called = prepare.call_args
        return code, called and called.args[1]

    def test_embedded_prepare_takes_kvm_where_it_is_usable(self):
        config = '[kata]\nallow_emulation = true\n'
        self.assertEqual((0, 'kvm'), self.prepare_embedded(config=config))
        self.assertEqual((0, 'tcg'), self.prepare_embedded(
            '--accelerator', 'tcg'))

    def test_embedded_prepare_emulates_where_that_is_allowed(self):
        self.assertEqual((0, 'tcg'), self.prepare_embedded(
            measured=hosts.INTERPRETING, **hosts.QEMU,
            config='[kata]\nallow_emulation = true\n'))

    def test_embedded_prepare_where_nothing_is_usable(self):
        with self.assertLogs('run', 'ERROR') as logs:
            self.assertEqual((1, None), self.prepare_embedded(
                measured=hosts.INTERPRETING))
        self.assertIn('host check', logs.output[0])

    def test_the_former_name_of_containerd_show(self):
        """cliff would take it for "containerd configure"."""
        app = shell.KataOpenstack()
        command, _, _ = app.command_manager.find_command(
            ['containerd', 'config'])
        self.assertTrue(issubclass(command, containerd.Show))

    def test_a_missing_configuration_file(self):
        self.assertNotEqual(0, cli.main(
            ['--config-file', '/no/such/file', 'host', 'check']))
