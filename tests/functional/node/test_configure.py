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
"""`kata-openstack containerd configure` with the installed containerd."""

import io
import os
import pathlib
import signal
import textwrap
import tomllib

import fixtures
from oslo_config import cfg

from kata_openstack.cli import shell
from kata_openstack.conf import opts
from kata_openstack.runtime.containerd import binary
from kata_openstack.runtime.containerd import config
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import edit
from kata_openstack.runtime.containerd import install
from tests.functional import kata
from tests.unit import base

# An operator's file: comments, unusual order, a value in the CRI section.
_CONFIG = '''\
# the operator's file
version = {version}
root = "{root}/root" # keep this
state = "{root}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper"]
{cri}
[grpc]
  address = "{root}/sock"
[ttrpc]
  address = "{root}/ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
'''
_CRI = {2: '''\
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.test/pause:1"  # and this
  stream_server_address = "127.0.0.1"
''', 3: '''\
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "registry.test/pause:1"  # and this
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
'''}
# Restarts containerd without a service manager.
_RESTART = '''\
#!/bin/sh
if [ -f {root}/pid ]; then
    kill $(cat {root}/pid)
    while kill -0 $(cat {root}/pid) 2>/dev/null; do sleep 0.05; done
fi
containerd --config {root}/etc/config.toml > {root}/log 2>&1 &
echo $! > {root}/pid
'''


class TestConfigure(base.TestCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('containerd needs root')
        # not below TMPDIR: the path of a socket must be short
        self.root = pathlib.Path(self.useFixture(
            fixtures.TempDir(rootdir='/tmp')).path)
        (self.root / 'etc').mkdir()
        self.config = self.root / 'etc' / 'config.toml'
        version = config.format_version(binary.version())
        self.plugin = config.runtime_plugin(version)
        self.before = _CONFIG.format(version=version, root=self.root,
                                     cri=_CRI[version])
        self.config.write_text(self.before)
        (self.root / 'node.conf').write_text(textwrap.dedent(f'''\
            [DEFAULT]
            run_path = {kata.STATE}/run
            state_path = {self.root}/lib
            [kata]
            allow_emulation = true
            [containerd]
            address = {self.root}/sock
            registry_mirrors = docker.io=https://mirror.example
            '''))
        script = self.root / 'restart'
        script.write_text(_RESTART.format(root=self.root))
        script.chmod(0o755)
        self.addCleanup(self.kill)

    def kill(self):
        pid = self.root / 'pid'
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGKILL)

    def run_cli(self, *argv):
        app = shell.KataOpenstack()
        app.stdout, app.stderr = io.StringIO(), io.StringIO()
        code = app.run(['--config-file', str(self.root / 'node.conf'),
                        'containerd', 'configure', '--config',
                        str(self.config), *argv])
        return code, app.stdout.getvalue()

    def handlers(self):
        """The handlers of the running containerd."""
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        conf([], default_config_files=[str(self.root / 'node.conf')])
        client = cri.CriClient(conf)
        self.addCleanup(client.close)
        return client.handlers()

    def files(self):
        return {p: (p.stat().st_mtime_ns, p.read_text())
                for folder in ('etc', 'lib')
                for p in (self.root / folder).rglob('*') if p.is_file()}

    def test_check_and_diff_change_nothing(self):
        before = self.files()
        self.assertEqual(3, self.run_cli('--check')[0])
        code, out = self.run_cli('--diff')
        self.assertEqual(3, code)
        self.assertIn(f'+[plugins."{self.plugin}".containerd.runtimes.'
                      'kata-embedded]', out)
        self.assertEqual(before, self.files())

    def test_it_is_done_once(self):
        self.assertEqual(0, self.run_cli()[0])
        self.assertLess(set(self.before.splitlines()),
                        set(self.config.read_text().splitlines()))
        backup = self.config.with_name('config.toml.before-kata-openstack')
        self.assertEqual(self.before, backup.read_text())
        # containerd would drop its default runtime when another is named
        self.assertLessEqual(
            {'runc', 'kata-embedded'},
            edit.runtimes(binary.dump(self.config)).keys())
        self.assertIn('https://mirror.example', (
            self.root / 'etc/certs.d/docker.io/hosts.toml').read_text())
        before = self.files()
        self.assertEqual(0, self.run_cli('--check')[0])
        self.assertEqual(0, self.run_cli()[0])
        self.assertEqual(before, self.files())

    def test_the_default_runtime_is_the_operators(self):
        """A second run keeps runc as changed by the operator.

        The first run had to copy it into the file, because containerd drops
        it when another runtime is named.
        """
        self.assertEqual(0, self.run_cli()[0])
        text = self.config.read_text().replace(
            'SystemdCgroup = false', 'SystemdCgroup = true') + (
            f'[plugins."{self.plugin}".containerd.runtimes.other]\n'
            'runtime_type = "io.containerd.runc.v2"\n')
        self.config.write_text(text)
        self.assertEqual(0, self.run_cli()[0])
        self.assertEqual(text, self.config.read_text())
        # only a containerd that does not merge imports needs 'runc' in it
        runtimes = edit.runtimes(binary.dump(self.config))
        self.assertLessEqual({'other', 'kata-embedded'}, runtimes.keys())
        if '.runtimes.runc' in text:
            self.assertTrue(runtimes['runc']['options']['SystemdCgroup'])
        self.assertEqual(0, self.run_cli('--check')[0])

    def test_a_link_stays(self):
        real = self.root / 'real.toml'
        self.config.rename(real)
        self.config.symlink_to(real)
        self.assertEqual(0, self.run_cli()[0])
        self.assertTrue(self.config.is_symlink())
        self.assertIn('kata-embedded',
                      edit.runtimes(binary.dump(self.config)))
        self.assertEqual(0, self.run_cli('--check')[0])

    def test_containerd_has_the_handlers_after_its_restart(self):
        code, out = self.run_cli('--restart', str(self.root / 'restart'))
        self.assertEqual(0, code, out)
        self.assertIn('handlers: kata-embedded', out)

    def test_an_operators_handler_of_the_same_name_is_left(self):
        self.config.write_text(self.before + (
            f'[plugins."{self.plugin}".containerd.runtimes.kata-embedded]\n'
            'runtime_type = "mine"\n'))
        code, out = self.run_cli()
        self.assertEqual(0, code)
        self.assertIn('left as it is: handler kata-embedded', out)
        self.assertIn('runtime_type = "mine"', self.config.read_text())

    def test_rollback(self):
        """containerd accepts the file, but does not start with it."""
        script = self.root / 'restart'
        script.write_text(
            f'#!/bin/sh\nif grep -rq kata-embedded {self.root}/etc; then '
            'exit 1; fi\n' + script.read_text().partition('\n')[2])
        code, _ = self.run_cli('--restart', str(script))
        self.assertEqual(1, code)
        self.assertEqual(self.before, self.config.read_text())
        self.assertFalse((self.root / 'etc/certs.d/docker.io/hosts.toml')
                         .exists())
        self.assertTrue((self.root / 'pid').exists())  # running again
        self.assertEqual(3, self.run_cli('--check')[0])

    def test_rollback_without_the_handlers(self):
        """containerd starts, but without the configured handlers."""
        other = self.root / 'other.toml'
        other.write_text(self.before)
        script = self.root / 'restart'
        script.write_text(script.read_text().replace(
            str(self.config), str(other)))
        self.useFixture(fixtures.MockPatchObject(install, '_UP', 5.0))
        with self.assertLogs('run', 'ERROR') as logs:
            self.assertEqual(1, self.run_cli('--restart', str(script))[0])
        undone, why = [r.getMessage() for r in logs.records]
        self.assertEqual('All changes are undone.', undone)
        self.assertIn('it has no handler kata-embedded', why)
        self.assertEqual(self.before, self.config.read_text())
        self.assertNotIn('kata-embedded', self.handlers())
        self.assertEqual(3, self.run_cli('--check')[0])

    def test_a_malformed_configuration(self):
        for text in ('version = 2\n[plugins\n', 'version = 1\n[plugins.x]\n'
                     'a = 1\n', 'version = 2\noom_score = "x"\n',
                     'version = 2\nimports = [1]\n',
                     f'version = 2\n[plugins."{self.plugin}"]\n'
                     'containerd = 1\n'):
            self.config.write_text(text)
            with self.assertLogs('run', 'ERROR') as logs:
                self.assertEqual(1, self.run_cli()[0])
            [line] = [r.getMessage() for r in logs.records]
            self.assertIn(str(self.config), line)
            self.assertNotIn('\n', line)
            self.assertEqual(text, self.config.read_text())

    def test_no_file_yet(self):
        self.config.unlink()
        self.assertEqual(0, self.run_cli()[0])
        self.assertIn('version', tomllib.loads(self.config.read_text()))
        self.assertEqual(0, self.run_cli('--check')[0])
