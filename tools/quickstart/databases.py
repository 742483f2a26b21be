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

"""Sets up one MariaDB server with all databases and their schemas."""

import base64
from importlib import metadata
import os
import pathlib
import subprocess
import sys

from tools.quickstart import graph
from tools.quickstart import process
from tools.quickstart import settings

DATABASES = ('keystone', 'placement', 'glance', 'neutron', 'zun')


def stamp(stack: settings.Stack, name: str, value: str) -> bool:
    """Whether step ``name`` has been done for this ``value``."""
    path = stack.data / 'stamps' / name
    return path.exists() and path.read_text() == value


def set_stamp(stack: settings.Stack, name: str, value: str) -> None:
    settings.write_private(stack.data / 'stamps' / name, value)


def _server_files(stack: settings.Stack) -> str | None:
    data = stack.data / 'mariadb'
    if stamp(stack, 'mariadb', '1'):
        return None
    process.run(stack, [
        'mariadb-install-db', '--no-defaults', '--user=root',
        f'--datadir={data}', '--skip-test-db', '--skip-name-resolve',
        '--auth-root-authentication-method=socket'], 'mariadb')
    set_stamp(stack, 'mariadb', '1')
    return 'created'


def _accounts(stack: settings.Stack) -> None:
    statements = []
    for name in DATABASES:
        statements += [
            f'CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb3;',
            f'CREATE USER IF NOT EXISTS {name}@localhost;',
            f'ALTER USER {name}@localhost IDENTIFIED BY '
            f"'{stack.passwords[name]}';",
            f'GRANT ALL ON {name}.* TO {name}@localhost;']
    # on standard input, because all users can see arguments
    done = subprocess.run(
        ['mariadb', '--no-defaults', f'--socket={stack.run}/mariadb.sock'],
        input='\n'.join(statements), text=True, env=stack.environment(),
        capture_output=True)
    if done.returncode:
        raise settings.QuickstartError(done.stderr.strip())


def _keys(folder: pathlib.Path) -> None:
    """Write Fernet keys as keystone-manage fernet_setup does, but faster."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ('0', '1'):
        if not (folder / name).exists():
            key = base64.urlsafe_b64encode(os.urandom(32)).decode()
            settings.write_private(folder / name, key)


def _schema(stack: settings.Stack, name: str, package: str,
            commands: list[list[str]],
            environment: dict[str, str]) -> str | None:
    version = metadata.version(package)
    if stamp(stack, f'schema-{name}', version):
        return None
    # lower the priority of the others: most steps wait for Keystone
    first = [] if name == 'keystone' else ['nice', '-n', '10']
    for command in commands:
        process.run(stack,
                    # the first line of a script may name the same
                    # environment by a path that Neutron cannot use
                    [*first, sys.executable, stack.program(command[0]),
                     *command[1:]],
                    f'{name}-database', environment)
    set_stamp(stack, f'schema-{name}', version)
    return f'schema for {package} {version}'


def steps(stack: settings.Stack) -> list[graph.Step]:
    etc = stack.etc
    conf = {
        'keystone': f'{etc}/keystone/keystone.conf',
        'placement': f'{etc}/placement/placement.conf',
        'glance': f'{etc}/glance/glance-api.conf',
        'neutron': f'{etc}/neutron/neutron.conf',
        'zun': f'{etc}/zun/zun.conf',
    }
    keystone = f'{stack.url("keystone")}/v3'
    commands: dict[str, tuple[str, list[list[str]]]] = {
        'keystone': ('keystone', [
            ['keystone-manage', '--config-file', conf['keystone'],
             'db_sync'],
            ['keystone-manage', '--config-file', conf['keystone'],
             'bootstrap', '--bootstrap-admin-url', keystone,
             '--bootstrap-internal-url', keystone,
             '--bootstrap-public-url', keystone,
             '--bootstrap-region-id', 'RegionOne']]),
        'placement': ('openstack-placement', [
            ['placement-manage', '--config-file', conf['placement'],
             'db', 'sync']]),
        'glance': ('glance', [
            ['glance-manage', '--config-file', conf['glance'], 'db_sync']]),
        'neutron': ('neutron', [
            ['neutron-db-manage', '--config-file', conf['neutron'],
             '--config-file', f'{etc}/neutron/ml2.ini', 'upgrade',
             'heads']]),
        'zun': ('zun', [
            ['zun-db-manage', '--config-file', conf['zun'], 'upgrade']]),
    }
    environment = {
        'OS_BOOTSTRAP_PASSWORD': stack.passwords['admin']}

    def accounts() -> None:
        for folder in ('fernet-keys', 'credential-keys'):
            _keys(stack.data / 'keystone' / folder)
        _accounts(stack)

    def schema(name: str) -> graph.Step:
        package, to_run = commands[name]
        return graph.Step(
            f'{name} database',
            lambda: _schema(stack, name, package, to_run,
                            environment if name == 'keystone' else {}),
            ('databases', 'files'))

    return [
        graph.Step('mariadb files', lambda: _server_files(stack),
                   ('files',)),
        graph.Step('databases', accounts, ('mariadb',)),
        *(schema(name) for name in DATABASES),
    ]
