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
"""A handler whose files are unusable does not affect other handlers."""

import pathlib
import tomllib

import fixtures
from oslo_config import cfg
from oslo_config import fixture as config_fixture

from kata_openstack.conf import opts
from kata_openstack.runtime.containerd import kata_config
from kata_openstack.runtime.hypervisors import base as hypervisors
from tests.unit import base

CLH = hypervisors.kata_handler('clh')
QEMU = hypervisors.kata_handler('qemu')
FC = hypervisors.kata_handler('fc')


class TestFiles(base.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        options = self.useFixture(config_fixture.Config(self.conf))
        self.conf([], default_config_files=[])
        options.config(state_path=str(self.root / 'lib'))
        self.log = self.useFixture(fixtures.FakeLogger())
        self.handlers = {}
        for handler in (CLH, QEMU, FC):
            folder = self.root / handler.shim
            (folder / 'config.d').mkdir(parents=True)
            (folder / 'config.d/10-site.toml').write_text('a = 1\n')
            path = folder / f'configuration-{handler.shim}.toml'
            path.write_text(f'[hypervisor.{handler.shim}]\n')
            self.handlers[handler] = hypervisors.Files(
                runtime_path=self.root / 'shim', config_path=path)
        self.tunings = {handler: {'agent': {'kata': {'dial_timeout': 180}}}
                        for handler in (CLH, QEMU)}

    def files(self):
        return kata_config.files(self.conf, self.handlers, self.tunings)

    def test_copies(self):
        named, written = self.files()
        self.assertEqual([CLH, QEMU, FC], list(named))
        own = self.root / 'lib/kata/clh'
        self.assertEqual(own / 'configuration-clh.toml',
                         named[CLH].config_path)
        for name, text in (('configuration-clh.toml', '[hypervisor.clh]\n'),
                           ('config.d/10-site.toml', 'a = 1\n')):
            head, _, rest = written[own / name].partition('\n')
            self.assertEqual(text, rest)
            self.assertIn(str(self.root / 'clh' / name), head)
        self.assertEqual(self.tunings[CLH], tomllib.loads(
            written[own / 'config.d/50-kata-openstack.toml']))
        # without tuning, upstream's own file is used
        self.assertEqual(self.handlers[FC], named[FC])
        self.assertEqual('', self.log.output)

    def test_a_time_out_is_never_made_shorter(self):
        """Upstream gives GPUs 1200 s, and an operator may give more, too."""
        own = self.root / 'lib/kata/clh/config.d/50-kata-openstack.toml'
        path = self.handlers[CLH].config_path
        drop_in = self.root / 'clh/config.d/20-site.toml'
        for upstream, operator, expected in (
                ('1200', '', 1200), ('45', '', 180), ('45', '600', 600),
                ('1200', '60', 180), ('"x"', '', 180)):
            path.write_text(f'[agent.kata]\ndial_timeout = {upstream}\n')
            drop_in.write_text(operator and (
                f'[agent.kata]\ndial_timeout = {operator}\n'))
            found = tomllib.loads(self.files()[1][own])
            self.assertEqual({'agent': {'kata': {'dial_timeout': expected}}},
                             found)

    def changed(self):
        return [str(path.relative_to(self.root))
                for path in kata_config.changed(self.conf)]

    def configure(self):
        for path, text in self.files()[1].items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def test_files_that_have_changed_since_they_were_copied(self):
        self.assertEqual([], self.changed())  # none was copied yet
        self.configure()
        self.assertEqual([], self.changed())
        self.handlers[CLH].config_path.write_text('b = 2\n')
        (self.root / 'fc/configuration-fc.toml').write_text('b = 2\n')
        self.handlers[QEMU].config_path.unlink()
        (self.root / 'qemu/config.d/10-site.toml').write_bytes(b'\xff')
        (self.root / 'qemu/config.d/30-new.toml').touch()
        self.assertEqual([
            'clh/configuration-clh.toml', 'qemu/configuration-qemu.toml',
            'qemu/config.d/10-site.toml', 'qemu/config.d/30-new.toml'],
            self.changed())

    def test_copies_of_a_release_that_noted_no_origin(self):
        self.configure()
        (self.root / 'lib/kata/clh/configuration-clh.toml').write_text('')
        self.handlers[CLH].config_path.write_text('b = 2\n')
        self.assertEqual(['lib/kata/clh/configuration-clh.toml'],
                         self.changed())

    def check_left_out(self, path, cause):
        """Assert that one log line names it and clh gets no files."""
        named, written = self.files()
        self.assertEqual([QEMU, FC], list(named))
        own = self.root / 'lib/kata'
        self.assertEqual(
            {own / 'qemu/configuration-qemu.toml',
             own / 'qemu/config.d/10-site.toml',
             own / 'qemu/config.d/50-kata-openstack.toml'}, set(written))
        self.assertEqual(1, len(self.log.output.splitlines()))
        for words in ('kata-clh', str(path), cause):
            self.assertIn(words, self.log.output)

    def test_a_configuration_that_is_not_utf_8(self):
        path = self.handlers[CLH].config_path
        path.write_bytes(b'kernel = "/caf\xe9"\n')
        self.check_left_out(path, "can't decode byte 0xe9")

    def test_a_configuration_that_has_gone(self):
        path = self.handlers[CLH].config_path
        path.unlink()
        self.check_left_out(path, 'No such file')

    def test_a_drop_in_that_cannot_be_read(self):
        path = self.root / 'clh/config.d/10-site.toml'
        path.unlink()
        path.mkdir()  # a folder, because root can read any file
        self.check_left_out(path, 'Is a directory')

    def test_a_drop_in_that_is_not_utf_8(self):
        path = self.root / 'clh/config.d/20-site.toml'
        path.write_bytes(b'\xff')
        self.check_left_out(path, "can't decode byte 0xff")
