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
"""containerd configure, with stand-ins for containerd 2 and containerd 1.6.

tests/functional tests it with the real programs.
"""

import dataclasses
import json
import os
import pathlib
import signal
import sys
import tomllib
from unittest import mock

import fixtures
from oslo_config import cfg
from oslo_config import fixture as config_fixture

from kata_openstack.cli import containerd
from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.runtime.containerd import config
from kata_openstack.runtime.containerd import edit
from kata_openstack.runtime.containerd import file_changes
from kata_openstack.runtime.containerd import install
from kata_openstack.runtime.containerd import mirrors
from kata_openstack.runtime.hypervisors import base as hypervisors
from tests.unit import base

CRI = 'io.containerd.grpc.v1.cri'
RUNTIME = 'io.containerd.cri.v1.runtime'
IMAGES = 'io.containerd.cri.v1.images'

# A "#!" line cannot name an interpreter whose path has a space, so the shell
# starts it.
_INTERPRETER = '''\
#!/bin/sh
""":"
exec '{python}' "$0" "$@"
"""
'''
# containerd 2: merges imports key by key; runc is always configured.
_PROGRAM = _INTERPRETER + '''\
import pathlib, sys, tomllib, tomli_w

def merge(to, other):
    for key, value in other.items():
        if isinstance(value, dict):
            merge(to.setdefault(key, {{}}), value)
        else:
            to[key] = value

main = tomllib.loads(pathlib.Path(sys.argv[2]).read_text())
whole = {{'plugins': {{'{plugin}': {{'containerd': {{'runtimes': {{
    'runc': {{'runtime_type': 'io.containerd.runc.v2'}}}}}}}}}}}}
merge(whole, main)
for name in main.get('imports', []):
    merge(whole, tomllib.loads(pathlib.Path(name).read_text()))
print(tomli_w.dumps(whole))
'''
# containerd 1.6: a plugin's section of an import replaces the other one; runc
# is configured only if no other runtime is.
_PROGRAM_1 = _INTERPRETER + '''\
import pathlib, sys, tomllib, tomli_w

whole = tomllib.loads(pathlib.Path(sys.argv[2]).read_text())
plugins = whole.setdefault('plugins', {{}})
for name in whole.get('imports', []):
    plugins.update(tomllib.loads(pathlib.Path(name).read_text())['plugins'])
runtimes = plugins.setdefault('{plugin}', {{}}).setdefault(
    'containerd', {{}}).setdefault('runtimes', {{}})
if not runtimes:
    runtimes['runc'] = {{'runtime_type': 'io.containerd.runc.v2',
                        'options': {{'SystemdCgroup': False}}}}
print(tomli_w.dumps(whole))
'''
CLH = hypervisors.kata_handler('clh')
QEMU = hypervisors.kata_handler('qemu')


class _Configured(base.TestCase):
    program = _PROGRAM
    plugin = RUNTIME
    version = '2.1.4'

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.options = self.useFixture(config_fixture.Config(self.conf))
        self.conf([], default_config_files=[])
        self.options.config(state_path=str(self.root / 'lib'))
        program = self.root / 'containerd'
        program.write_text(self.program.format(python=sys.executable,
                                               plugin=self.plugin))
        program.chmod(0o755)
        (self.root / 'etc').mkdir()
        self.target = install.Target(
            config=self.root / 'etc/config.toml',
            own=self.root / 'etc/conf.d/kata-openstack.toml',
            program=str(program), version=self.version)
        number = config.format_version(self.version)
        self.before = (f'# mine\nversion = {number}\n'
                       '[debug]\nlevel = "info" # really\n')
        self.target.config.write_text(self.before)
        self.backup = self.target.config.with_name(
            'config.toml.before-kata-openstack')
        kata = self.root / 'kata'
        (kata / 'config.d').mkdir(parents=True)
        (kata / 'config.d/10-site.toml').write_text('[agent.kata]\na = 1\n')
        self.files = {}
        for handler in (CLH, QEMU):
            upstream = kata / f'configuration-{handler.shim}.toml'
            upstream.write_text(f'[hypervisor.{handler.shim}]\n')
            self.files[handler] = hypervisors.Files(
                runtime_path=kata / 'shim', config_path=upstream)
        self.tunings = {CLH: {'hypervisor': {'clh': {
            'enable_annotations': []}}, 'agent': {'kata': {
                'dial_timeout': 180}}}, QEMU: {}}

    def plan(self, files=None):
        return install.plan(self.conf, self.target,
                            self.files if files is None else files,
                            self.tunings)

    def apply(self, files=None):
        plan = self.plan(files)
        file_changes.apply(plan.changes, self.target.config)
        return plan

    def everything(self):
        return {p: p.read_text() for folder in ('etc', 'lib')
                for p in (self.root / folder).rglob('*') if p.is_file()}

    def use_a_mirror(self):
        self.options.config(group='containerd', registry_mirrors=[
            'docker.io=https://a.example'])
        return self.root / 'etc/certs.d/docker.io/hosts.toml'

    def own(self):
        return tomllib.loads(self.target.own.read_text())


class TestContainerd2(_Configured):
    def test_a_file_of_its_own_is_imported(self):
        before = self.target.config.read_text()
        self.assertEqual(['kata-clh', 'kata-qemu'], self.apply().handlers)
        text = self.target.config.read_text()
        for line in before.splitlines():
            self.assertIn(line, text.splitlines())
        self.assertEqual([str(self.target.own)],
                         tomllib.loads(text)['imports'])
        self.assertEqual(3, self.own()['version'])
        runtimes = self.own()['plugins'][RUNTIME]['containerd']['runtimes']
        self.assertEqual({'kata-clh', 'kata-qemu'}, set(runtimes))
        self.assertEqual([], list(self.plan().changes))

    def test_upstreams_configuration_is_tuned_in_a_copy(self):
        self.apply()
        copy = self.root / 'lib/kata/clh/configuration-clh.toml'
        runtimes = self.own()['plugins'][RUNTIME]['containerd']['runtimes']
        self.assertEqual(str(copy),
                         runtimes['kata-clh']['options']['ConfigPath'])
        self.assertEqual('[hypervisor.clh]\n',
                         copy.read_text().partition('\n')[2])
        drop_in = tomllib.loads(
            (copy.parent / 'config.d/50-kata-openstack.toml').read_text())
        self.assertEqual(self.tunings[CLH], drop_in)
        self.assertTrue((copy.parent / 'config.d/10-site.toml').exists())
        # without tuning, upstream's own file is used
        self.assertEqual(str(self.files[QEMU].config_path),
                         runtimes['kata-qemu']['options']['ConfigPath'])

    def test_snapshotter_and_mirrors(self):
        self.options.config(group='kata',
                            snapshotters={'kata-clh': 'devmapper'})
        self.options.config(group='containerd', registry_mirrors=[
            'docker.io=https://a.example', 'docker.io=http://b.example:5000'])
        self.apply()
        images = self.own()['plugins'][IMAGES]
        self.assertEqual({'kata-clh': {'snapshotter': 'devmapper'}},
                         images['runtime_platforms'])
        folder = self.root / 'etc/certs.d'
        self.assertEqual(str(folder), images['registry']['config_path'])
        hosts = tomllib.loads((folder / 'docker.io/hosts.toml').read_text())
        self.assertEqual(['https://a.example', 'http://b.example:5000'],
                         list(hosts['host']))

    def test_an_operators_hosts_file_is_left(self):
        file = self.root / 'etc/certs.d/docker.io/hosts.toml'
        file.parent.mkdir(parents=True)
        file.write_text('server = "x"\n')
        self.options.config(group='containerd', registry_mirrors=[
            'docker.io=https://a.example'])
        self.assertIn(str(file), self.apply().kept)
        self.assertEqual('server = "x"\n', file.read_text())

    def test_what_is_no_longer_usable_is_removed(self):
        before = self.target.config.read_text()
        self.apply()
        self.apply({QEMU: self.files[QEMU]})
        self.assertFalse(list((self.root / 'lib').rglob('*clh.toml')))
        self.assertEqual({'kata-qemu'}, set(self.own()['plugins'][RUNTIME][
            'containerd']['runtimes']))
        self.apply({})
        self.assertFalse(self.target.own.exists())
        self.assertEqual(tomllib.loads(before), tomllib.loads(
            self.target.config.read_text()))

    def test_an_import_that_is_there_already(self):
        self.target.config.write_text(
            f'version = 3\nimports = ["{self.target.own.parent}/*.toml"]\n')
        program = pathlib.Path(self.target.program)
        program.write_text(program.read_text().replace(
            'for name in main.get',
            'import glob\nfor name in (f for i in main.get').replace(
            "('imports', []):", "('imports', []) for f in glob.glob(i)):"))
        before = self.target.config.read_text()
        self.apply()
        self.assertEqual(before, self.target.config.read_text())
        self.assertEqual([], list(self.plan().changes))

    def test_undo(self):
        before = self.target.config.read_text()
        plan = self.apply()
        file_changes.undo(plan.changes)
        self.assertEqual(before, self.target.config.read_text())
        self.assertFalse(self.target.own.exists())

    def test_what_cannot_be_undone_is_named(self):
        plan = self.apply()
        self.target.own.unlink()
        self.target.own.mkdir()
        [left] = file_changes.undo(plan.changes)
        self.assertIn(str(self.target.own), left)
        self.assertEqual(self.before, self.target.config.read_text())
        self.assertFalse((self.root / 'lib/containerd.json').exists())

    def fail_to_replace(self, error, *paths):
        """Make replacing one of these files raise the error."""
        replace = pathlib.Path.replace

        def fail(path, target):
            if target in paths:
                raise error
            return replace(path, target)

        self.useFixture(fixtures.MockPatchObject(
            pathlib.Path, 'replace', fail))

    def test_an_error_in_the_middle_of_writing(self):
        before = self.everything()
        self.fail_to_replace(OSError('full'), self.target.config)
        e = self.assertRaises(exception.RuntimeFailed, self.apply)
        self.assertIn('full', str(e))
        self.assertNotIn('not undone', str(e))
        # no partly written file is left, under any name
        self.assertEqual({**before, self.backup: self.before},
                         self.everything())

    def test_an_interruption_in_the_middle_of_writing(self):
        self.fail_to_replace(KeyboardInterrupt(), self.target.config)
        self.assertRaises(KeyboardInterrupt, self.apply)
        self.assertFalse(self.target.own.exists())

    def test_an_error_while_undoing(self):
        self.apply()
        own = self.target.own.read_text()
        plan = self.plan({QEMU: self.files[QEMU]})
        replace = pathlib.Path.replace
        writes = iter((True, False))

        def fail(path, target):
            if target == self.target.own and next(writes):
                return replace(path, target)
            raise OSError('full')

        with mock.patch.object(pathlib.Path, 'replace', fail):
            e = self.assertRaises(
                exception.RuntimeFailed, file_changes.apply, plan.changes,
                self.target.config)
        self.assertIn(f'not undone: {self.target.own} (full)', str(e))
        self.assertNotEqual(own, self.target.own.read_text())

    def test_it_is_on_the_disk_before_it_has_its_name(self):
        before = self.everything()
        with mock.patch.object(os, 'fsync', side_effect=OSError('bad disk')):
            self.assertRaises(exception.RuntimeFailed, self.apply)
        self.assertEqual(before, self.everything())

    def test_line_ends_stay(self):
        before = self.before.replace('\n', '\r\n').encode()
        self.target.config.write_bytes(before)
        plan = self.apply()
        self.assertEqual(before, self.backup.read_bytes())
        self.assertIn(b'# really\r\n', self.target.config.read_bytes())
        file_changes.undo(plan.changes)
        self.assertEqual(before, self.target.config.read_bytes())

    def test_a_link_stays(self):
        real = self.root / 'real.toml'
        self.target.config.rename(real)
        self.target.config.symlink_to('../real.toml')
        plan = self.apply()
        self.assertTrue(self.target.config.is_symlink())
        self.assertIn('imports', real.read_text())
        self.assertEqual(self.before, self.backup.read_text())
        file_changes.undo(plan.changes)
        self.assertTrue(self.target.config.is_symlink())
        self.assertEqual(self.before, real.read_text())

    def test_a_hosts_file_that_the_operator_took_over(self):
        file = self.use_a_mirror()
        self.apply()
        text = file.read_text().removeprefix(mirrors.MARK)
        file.write_text(text)
        self.assertEqual([str(file)], self.apply().kept)
        self.assertEqual(text, file.read_text())

    def test_a_hosts_file_that_is_not_ours_any_more_nor_wanted(self):
        file = self.use_a_mirror()
        self.apply()
        text = file.read_text().removeprefix(mirrors.MARK)
        file.write_text(text)
        self.options.config(group='containerd', registry_mirrors=[])
        self.assertEqual([str(file)], self.apply().kept)
        self.assertEqual(text, file.read_text())

    def test_a_hosts_file_that_is_no_longer_wanted(self):
        file = self.use_a_mirror()
        self.apply()
        self.options.config(group='containerd', registry_mirrors=[])
        self.assertEqual([], self.apply().kept)
        self.assertFalse(file.exists())

    def test_a_file_of_its_own_that_the_operator_took_over(self):
        self.apply()
        text = self.target.own.read_text().removeprefix(edit.MARK)
        self.target.own.write_text(text)
        self.assertEqual([str(self.target.own)], self.apply({}).kept)
        self.assertEqual(text, self.target.own.read_text())

    def test_another_file_of_its_own(self):
        self.apply()
        former = self.target.own
        self.target = dataclasses.replace(
            self.target, own=self.root / 'etc/other/ours.toml')
        plan = self.apply()
        self.assertEqual((['kata-clh', 'kata-qemu'], [], []),
                         (plan.handlers, plan.theirs, plan.kept))
        self.assertFalse(former.exists())
        imports = tomllib.loads(self.target.config.read_text())['imports']
        self.assertIn(str(self.target.own), imports)
        self.assertNotIn(str(former), imports)
        self.assertEqual([], self.plan().changes)
        self.apply({})
        self.assertEqual(tomllib.loads(self.before), tomllib.loads(
            self.target.config.read_text()))
        self.assertFalse(self.target.own.exists())

    def test_a_handler_whose_files_cannot_be_read(self):
        self.files[CLH].config_path.unlink()
        self.assertEqual(['kata-qemu'], self.apply().handlers)

    def test_a_value_of_a_wrong_type(self):
        for wrong in ('imports = [1]', 'imports = "x"', 'plugins = 1',
                      f'[plugins]\n"{RUNTIME}" = []',
                      f'[plugins."{RUNTIME}"]\ncontainerd = 1',
                      f'[plugins."{RUNTIME}".containerd]\nruntimes = "x"',
                      f'[plugins."{IMAGES}"]\nregistry = 1'):
            self.target.config.write_text(f'version = 3\n{wrong}\n')
            e = self.assertRaises(exception.InvalidInput, self.plan)
            self.assertIn(str(self.target.config), str(e))

    def test_a_broken_record(self):
        (self.root / 'lib').mkdir()
        (self.root / 'lib/containerd.json').write_text(json.dumps([1]))
        self.assertRaises(exception.InvalidInput, self.plan)


class TestContainerd1(_Configured):
    program = _PROGRAM_1
    plugin = CRI
    version = '1.6.20'

    def runtimes(self):
        return tomllib.loads(self.target.config.read_text())['plugins'][CRI][
            'containerd']['runtimes']

    def edit_runc(self):
        """Change runc in the file, as an operator would."""
        text = self.target.config.read_text()
        self.assertIn('SystemdCgroup = false', text)
        text = text.replace('SystemdCgroup = false', 'SystemdCgroup = true')
        self.target.config.write_text(text)
        return text

    def add_sections(self):
        """Add a CRI section, so that ours must be in the same file."""
        self.target.config.write_text(
            self.before + f'[plugins."{CRI}"]\nsandbox_image = "x"\n')

    def test_the_default_runtime_is_the_operators(self):
        self.add_sections()
        self.apply()
        self.assertEqual({'runc', 'kata-clh', 'kata-qemu'},
                         set(self.runtimes()))
        record = json.loads((self.root / 'lib/containerd.json').read_text())
        self.assertEqual(['kata-clh', 'kata-qemu'], record['handlers'])
        self.assertEqual([], list(self.plan().changes))
        self.edit_runc()
        self.assertEqual([], list(self.plan().changes))

    def test_the_default_runtime_stays_beside_another_one(self):
        self.add_sections()
        self.apply()
        text = self.edit_runc() + (
            f'[plugins."{CRI}".containerd.runtimes.crun]\n'
            'runtime_type = "io.containerd.runc.v2"\n')
        self.target.config.write_text(text)
        self.assertEqual([], list(self.plan().changes))
        self.apply({QEMU: self.files[QEMU]})
        self.assertEqual({'runc', 'crun', 'kata-qemu'}, set(self.runtimes()))

    def test_the_default_runtime_stays_without_ours(self):
        self.add_sections()
        self.apply()
        self.edit_runc()
        self.assertEqual([], list(self.apply({}).handlers))
        self.assertEqual({'runc'}, set(self.runtimes()))
        self.assertTrue(self.runtimes()['runc']['options']['SystemdCgroup'])
        self.assertEqual([], list(self.plan({}).changes))

    def test_the_original_is_kept(self):
        self.add_sections()
        before = self.target.config.read_text()
        self.apply()
        self.apply({QEMU: self.files[QEMU]})
        self.assertNotIn('kata-clh', self.runtimes())
        self.assertEqual(before, self.backup.read_text())

    def test_a_new_original_is_kept(self):
        self.add_sections()
        self.apply()
        new = self.before + f'[plugins."{CRI}"]\nsandbox_image = "y"\n'
        self.target.config.write_text(new)
        self.apply()
        self.assertEqual(new, self.backup.read_text())

    def test_an_inline_table_in_the_way(self):
        for wrong in ('{}', '{runtimes = {}}',
                      '{runtimes = {a = {runtime_type = "b"}}}'):
            text = (f'version = 2\n[plugins."{CRI}"]\nsandbox_image = "x"\n'
                    f'containerd = {wrong}\n')
            self.target.config.write_text(text)
            e = self.assertRaises(exception.InvalidInput, self.plan)
            self.assertIn(str(self.target.config), str(e))
            self.assertIn(f'plugins."{CRI}".containerd is an inline table',
                          str(e))


class TestRollback(_Configured):
    """Rollback of `configure --restart`, without a containerd."""

    def setUp(self):
        super().setUp()
        self.app = mock.Mock(conf=self.conf)
        self.command = containerd.Configure(self.app, None)
        self.planned = self.plan()

    def restart(self, *outcomes):
        with mock.patch.object(install, 'restart',
                               side_effect=outcomes) as restart:
            e = self.assertRaises(type(outcomes[0]), self.command._apply,
                                  self.planned, self.target, ['r'])
        self.assertIs(outcomes[0], e)
        self.assertEqual([mock.call(self.conf, ['r'], self.planned.handlers),
                          mock.call(self.conf, ['r'], ())],
                         restart.mock_calls)
        return ' '.join(call.args[0] % call.args[1:]
                        for call in self.app.LOG.error.mock_calls)

    def test_whatever_happens(self):
        for error in (exception.RuntimeFailed(operation='a', why='b'),
                      KeyboardInterrupt(), ValueError('x')):
            self.app.reset_mock()
            self.assertEqual('All changes are undone.',
                             self.restart(error, None))
            self.assertEqual(self.before, self.target.config.read_text())
            self.assertFalse(self.target.own.exists())

    def test_signals_undo_as_ctrl_c_does(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            before = signal.getsignal(number)
            with containerd._undone_by_signals():
                e = self.assertRaises(SystemExit, os.kill, os.getpid(),
                                      number)
                self.assertEqual(128 + number, e.code)
            self.assertIs(before, signal.getsignal(number))

    def test_what_is_not_undone(self):
        with mock.patch.object(file_changes, 'undo', return_value=['/x (full)']):
            self.assertEqual('Not undone: /x (full)',
                             self.restart(KeyboardInterrupt(), None))

    def test_the_first_error_is_raised(self):
        said = self.restart(
            exception.RuntimeFailed(operation='first', why='b'),
            exception.RuntimeFailed(operation='second', why='b'))
        self.assertIn('second failed', said)


class TestSmall(base.TestCase):
    def test_mirrors_that_are_none(self):
        for text in ('x', 'a=b', 'a/b=https://c', 'a=ftp://c',
                     '../x=https://c'):
            self.assertRaises(exception.InvalidInput, mirrors.parse_option,
                              [text])

    def test_a_password_is_not_repeated(self):
        e = self.assertRaises(exception.InvalidInput, mirrors.parse_option,
                              ['a=https://u:secret@c'])
        self.assertNotIn('secret', str(e))

    def test_newer_formats_are_read_as_3(self):
        self.assertEqual(3, edit.file_version({'version': 4}))
        self.assertEqual(1, edit.file_version({}))

    def test_conf_d(self):
        target = install.Target(config=pathlib.Path('/c'),
                                own=pathlib.Path('/o'), version='2.2.0')
        self.assertEqual('/etc/containerd/conf.d', str(target.conf_d))
