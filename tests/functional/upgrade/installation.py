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

"""kata-openstack in a virtual environment, of any commit."""

import configparser
import json
import pathlib
import shutil
import subprocess
import sysconfig
import tempfile
from typing import Any
import venv

import fixtures

CHECKOUT = pathlib.Path(__file__).parents[3]


class NotInHistory(Exception):
    """The checkout does not have a commit."""


class Installation(fixtures.Fixture):
    """A virtual environment, as pip would make it without a download.

    Everything but kata-openstack comes from the environment of the tests.

    Attributes: ``root`` (pathlib.Path), ``programs`` (Path of the scripts).
    """

    def _setUp(self) -> None:
        # not below TMPDIR: the path of a Unix socket has at most 107 bytes
        self.root = pathlib.Path(tempfile.mkdtemp(prefix='kt-', dir='/tmp'))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        venv.create(self.root / 'venv', symlinks=True)
        self.programs = self.root / 'venv' / 'bin'
        self._site = pathlib.Path(sysconfig.get_path('purelib', vars={
            'base': str(self.root / 'venv')}))
        (self._site / 'tests.pth').write_text(
            sysconfig.get_path('purelib') + '\n')

    def install_commit(self, commit: str) -> None:
        """:raises NotInHistory: the checkout does not have it."""
        # git refuses a checkout of another user, also to root
        done = subprocess.run(
            ['git', '-c', 'safe.directory=*', '-C', str(CHECKOUT), 'archive',
             commit, 'kata_openstack', 'setup.cfg'], capture_output=True)
        if done.returncode:
            raise NotInHistory(f'{commit}: {done.stderr.decode().strip()}')
        source = self.root / commit
        source.mkdir()
        subprocess.run(['tar', '-x', '-C', str(source)], input=done.stdout,
                       check=True)
        self._install(source)

    def install_checkout(self) -> None:
        self._install(CHECKOUT)

    def _install(self, source: pathlib.Path) -> None:
        """Replace the package, its metadata and its programs in place."""
        config = configparser.RawConfigParser()
        config.read(source / 'setup.cfg')
        points = dict(config['entry_points'])
        package = self._site / 'kata_openstack'
        metadata = self._site / 'kata_openstack-1.dist-info'
        for folder in (package, metadata):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source / 'kata_openstack', package,
                        ignore=shutil.ignore_patterns('__pycache__'))
        metadata.mkdir()
        (metadata / 'METADATA').write_text(
            'Metadata-Version: 2.1\nName: kata-openstack\nVersion: 1\n')
        (metadata / 'entry_points.txt').write_text(''.join(
            f'[{group}]{lines}\n' for group, lines in points.items()))
        for line in points['console_scripts'].strip().splitlines():
            name, _, point = line.partition(' = ')
            module, _, function = point.partition(':')
            script = self.programs / name
            script.unlink(missing_ok=True)
            script.write_text(
                f'#!{self.programs}/python\nimport sys\n'
                f'from {module} import {function}\nsys.exit({function}())\n')
            script.chmod(0o755)

    def edit(self, module: str, old: str, new: str) -> None:
        """Replace a text that the module has once."""
        path = self._site / 'kata_openstack' / module
        before, after = path.read_text().split(old)
        path.write_text(f'{before}{new}{after}')

    def run(self, program: str, *args: str, request: Any = None,
            timeout: int = 300) -> str:
        """Run a program of the environment, and return its output.

        :param request: sent to its standard input as JSON
        """
        done = subprocess.run(
            [str(self.programs / program), *args], capture_output=True,
            text=True, input=json.dumps(request), timeout=timeout)
        if done.returncode:
            raise RuntimeError(f'{program} {args}: {done.stdout}'
                               f'{done.stderr}')
        return done.stdout
