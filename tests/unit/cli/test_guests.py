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

"""kata-openstack embedded show and pods."""

import os
import pathlib
import subprocess
import time
from unittest import mock

import fixtures
from oslo_config import cfg

from kata_openstack.cli import guests
from kata_openstack.conf import opts
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.embedded.vm import size
from kata_openstack.runtime.embedded.vm.templates import template
from kata_openstack.runtime.hypervisors import embedded
from tests.unit import base
from tests.unit.runtime.embedded.vm import test_placing


class GuestsTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.conf([], default_config_files=[])
        self.conf.set_override('state_path', str(self.root))
        path = embedded.config_path(self.conf)
        path.parent.mkdir()
        initrd = path.parent / 'initrd'
        initrd.touch()
        os.utime(initrd, (time.time() - 3 * 86400,) * 2)
        self.settings = test_placing.config(
            qemu='/bin/sleep', initrd=str(initrd), image_key='new',
            run_path=str(self.root / 'run'), state_path=str(path.parent))
        self.settings.save(str(path))
        pathlib.Path(self.settings.memory_path).mkdir(parents=True)

    def take(self, command):
        app = mock.Mock(conf=self.conf)
        return command(app, None).take_action(mock.Mock())

    def test_show(self):
        made = template.Template(self.settings, size.Size(256, 1))
        os.mkdir(made.folder)
        pathlib.Path(made.folder, 'state').touch()
        shown = dict(zip(*self.take(guests.Show), strict=True))
        self.assertEqual({
            'kernel': '6.1', 'image_age': '3.0 days', 'qemu': '/bin/sleep',
            'templates': '256m1c (0.0 days)', 'candidate': False}, shown)
        pathlib.Path(self.settings.state_path, settings.CANDIDATE).touch()
        self.assertIs(True, dict(zip(*self.take(guests.Show), strict=True))[
            'candidate'])

    def test_nothing_is_prepared(self):
        embedded.config_path(self.conf).unlink()
        error = self.assertRaises(errors.NotPrepared, self.take,
                                  guests.Pods)
        self.assertIn('embedded prepare', str(error))

    def run_pod(self, name, program='/bin/sleep', **fields):
        process = subprocess.Popen([program, '100'])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        folder = pathlib.Path(self.settings.run_path, name)
        folder.mkdir()
        record = state.State(**{
            'sandbox': name, 'namespace': 'n', 'folder': str(folder),
            'socket': '', 'cgroup': '', 'ram': '', 'accelerator': 'kvm',
            'memory_mib': 256, 'vcpus': 1, 'qemu': process.pid,
            'kernel': '6.1', 'image_key': 'new', **fields})
        record.save()
        return process

    def test_pods(self):
        other = self.root / 'qemu'
        other.write_bytes(pathlib.Path('/bin/sleep').read_bytes())
        other.chmod(0o755)
        self.run_pod('a')
        self.run_pod('b', kernel='6.0')
        self.run_pod('c', image_key='old')
        self.run_pod('d', image_key='')
        self.run_pod('e', program=str(other), image_key='old')
        ended = self.run_pod('f')
        ended.kill()
        ended.wait()
        other.unlink()  # as an upgrade does
        _, rows = self.take(guests.Pods)
        self.assertEqual(
            [('a', '-'), ('b', 'guest'), ('c', 'guest'), ('d', '-'),
             ('e', 'guest, QEMU')], [(row[0], row[3]) for row in rows])
        self.assertEqual(('6.0', '0.0 days'), rows[1][1:3])
