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

"""containerd reads our configuration, and answers the upgrade check."""

import io
import json
import os
import pathlib
import subprocess
import tomllib

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from kata_openstack.cli import shell
from kata_openstack.cmd import status
from kata_openstack.conf import opts
from kata_openstack.runtime.containerd import binary
from kata_openstack.runtime.containerd import config
from kata_openstack.runtime.containerd import edit
from kata_openstack.runtime.hypervisors import base as hypervisors
from tests.functional import containerd
from tests.unit import base

HANDLER = hypervisors.kata_handler('clh')
FILES = hypervisors.Files(
    runtime_path=pathlib.Path('/opt/kata/bin/containerd-shim-kata-v2'),
    config_path=pathlib.Path('/opt/kata/configuration-clh.toml'))


class TestContainerd(base.TestCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('containerd needs root')
        self.version = binary.version()

    def start(self):
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        conf([], default_config_files=[])
        rendered = config.render(conf, {HANDLER: FILES}, self.version)
        return rendered, self.useFixture(containerd.Containerd(
            containerd.handlers(conf, {HANDLER: FILES})))

    def checks(self, service):
        checks = status.Checks(service.conf)
        return {name: check(checks) for name, check in
                status.Checks._upgrade_checks}

    def test_containerd_has_our_handler(self):
        _, service = self.start()
        # containerd 2 always has runc too
        self.assertEqual({'kata-clh'}, service.client.handlers() - {'runc'})

    def host(self, command):
        _, service = self.start()
        file = service.root / 'node.conf'
        file.write_text(f'[DEFAULT]\nrun_path = {service.root}/run\n'
                        f'[containerd]\naddress = {service.address}\n')
        app = shell.KataOpenstack()
        app.stdout = io.StringIO()
        app.run(['--config-file', str(file), 'host', command, '-f', 'json'])
        return json.loads(app.stdout.getvalue())

    def test_host_show_says_what_containerd_offers(self):
        found = self.host('show')['containerd']
        self.assertEqual(self.version.partition('~')[0],
                         found['version'].partition('~')[0])
        self.assertIn('overlayfs', found['snapshotters'])
        # installed, but not set up
        self.assertNotIn('devmapper', found['snapshotters'])

    def test_host_check_says_what_containerd_has(self):
        answer = self.host('check')
        self.assertIs(True, answer['containerd']['reachable'])
        configured = {h['name']: h['configured'] for h in answer['handlers']}
        self.assertIs(True, configured['kata-clh'])
        self.assertIs(False, configured['kata-qemu'])

    def test_containerd_reads_every_value(self):
        rendered, service = self.start()
        file = service.root / 'ours.toml'
        file.write_text(rendered)
        dump = subprocess.run(
            ['containerd', '--config', str(file), 'config', 'dump'],
            check=True, capture_output=True, text=True).stdout

        def runtime(text):
            return edit.runtimes(tomllib.loads(text))['kata-clh']

        self.assertEqual(runtime(rendered),
                         {k: v for k, v in runtime(dump).items()
                          if k in runtime(rendered)})

    def test_upgrade_check(self):
        _, service = self.start()
        result = self.checks(service)['containerd']
        self.assertEqual(upgradecheck.Code.SUCCESS, result.code,
                         result.details)
        self.assertIn(self.version.partition('-')[0], result.details)

    def test_upgrade_check_while_containerd_is_down(self):
        _, service = self.start()
        service.stop()
        result = self.checks(service)['containerd']
        self.assertEqual(upgradecheck.Code.FAILURE, result.code)
        self.assertIn(service.address, result.details)
