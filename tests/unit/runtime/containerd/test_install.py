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
"""Containerd 2, which is not at hand: a program that does as it does.

What containerd 1.6 does is tested with the real one, in tests/functional.
"""

import json
import pathlib
import sys
import tomllib

import fixtures
from oslo_config import cfg
from oslo_config import fixture as config_fixture

from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.runtime.containerd import edit
from kata_openstack.runtime.containerd import install
from kata_openstack.runtime.containerd import mirrors
from kata_openstack.runtime.hypervisors import base as hypervisors
from tests.unit import base

RUNTIME = 'io.containerd.cri.v1.runtime'
IMAGES = 'io.containerd.cri.v1.images'

# Merges what is imported key by key; the default has a runtime, runc.
_PROGRAM = '''\
#!{python}
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
CLH = hypervisors.kata_handler('clh')
QEMU = hypervisors.kata_handler('qemu')


class TestContainerd2(base.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.options = self.useFixture(config_fixture.Config(self.conf))
        self.conf([], default_config_files=[])
        self.options.config(state_path=str(self.root / 'lib'))
        program = self.root / 'containerd'
        program.write_text(_PROGRAM.format(python=sys.executable,
                                           plugin=RUNTIME))
        program.chmod(0o755)
        (self.root / 'etc').mkdir()
        self.target = install.Target(
            config=self.root / 'etc/config.toml',
            own=self.root / 'etc/conf.d/kata-openstack.toml',
            program=str(program), version='2.1.4')
        self.target.config.write_text(
            '# mine\nversion = 3\n[debug]\nlevel = "info" # really\n')
        kata = self.root / 'kata'
        (kata / 'config.d').mkdir(parents=True)
        (kata / 'config.d/10-site.toml').write_text('[agent.kata]\na = 1\n')
        self.files = {}
        for handler in (CLH, QEMU):
            config = kata / f'configuration-{handler.shim}.toml'
            config.write_text(f'[hypervisor.{handler.shim}]\n')
            self.files[handler] = hypervisors.Files(
                runtime_path=kata / 'shim', config_path=config)
        self.tunings = {CLH: {'hypervisor': {'clh': {
            'enable_annotations': []}}, 'agent': {'kata': {
                'dial_timeout': 180}}}, QEMU: {}}

    def plan(self, files=None):
        return install.plan(self.conf, self.target,
                            self.files if files is None else files,
                            self.tunings)

    def apply(self, files=None):
        plan = self.plan(files)
        install.apply(plan.changes, self.target)
        return plan

    def own(self):
        return tomllib.loads(self.target.own.read_text())

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
        self.assertEqual('[hypervisor.clh]\n', copy.read_text())
        drop_in = tomllib.loads(
            (copy.parent / 'config.d/50-kata-openstack.toml').read_text())
        self.assertEqual(self.tunings[CLH], drop_in)
        self.assertTrue((copy.parent / 'config.d/10-site.toml').exists())
        # nothing to tune: upstream's own file
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
        install.undo(plan.changes)
        self.assertEqual(before, self.target.config.read_text())
        self.assertFalse(self.target.own.exists())

    def test_a_broken_record(self):
        (self.root / 'lib').mkdir()
        (self.root / 'lib/containerd.json').write_text(json.dumps([1]))
        self.assertRaises(exception.InvalidInput, self.plan)


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
