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

"""Settings: folders, ports, passwords, environment of processes."""

import dataclasses
import fcntl
import json
import os
import pathlib
import re
import secrets
import socket
import string
import sys
from typing import Any

# Variable in the environment of every process that the stack starts. It
# identifies the remaining processes of a crashed service.
MARKER = 'KATA_QUICKSTART_STATE'

# The path of a Unix socket has at most 107 bytes, and the sockets of
# containerd and the shims are deep below the state folder.
MAX_STATE_DIR = 40
PATH = re.compile(r'[A-Za-z0-9/._-]+')

DEFAULT_PORT_BASE = 21500
PORTS = ('keystone', 'placement', 'glance', 'neutron', 'zun', 'wsproxy',
         'rabbitmq', 'rabbitmq_dist', 'epmd', 'registry', 'openflow',
         'cri_stream', 'console')

PASSWORDS = ('admin', 'rabbitmq', 'keystone', 'placement', 'glance',
             'neutron', 'zun', 'erlang')

# Variables passed on to services: they may be needed to reach registries.
SITE_VARIABLES = ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY',
                  'SSL_CERT_FILE', 'SSL_CERT_DIR', 'REQUESTS_CA_BUNDLE')

CLOUD_VARIABLES = {
    'OS_IDENTITY_API_VERSION': '3',
    'OS_USERNAME': 'admin',
    'OS_PROJECT_NAME': 'demo',
    'OS_USER_DOMAIN_ID': 'default',
    'OS_PROJECT_DOMAIN_ID': 'default',
    'OS_REGION_NAME': 'RegionOne',
}


class QuickstartError(Exception):
    """An error that the user can fix; shown without a traceback."""


@dataclasses.dataclass(frozen=True)
class Stack:
    """One stack: its folders, ports and passwords."""

    state: pathlib.Path
    repository: pathlib.Path
    port_base: int
    host: str
    passwords: dict[str, str] = dataclasses.field(hash=False)

    @property
    def bin(self) -> pathlib.Path:
        return pathlib.Path(sys.prefix) / 'bin'

    @property
    def etc(self) -> pathlib.Path:
        return self.state / 'etc'

    @property
    def data(self) -> pathlib.Path:
        return self.state / 'data'

    @property
    def run(self) -> pathlib.Path:
        return self.state / 'run'

    @property
    def logs(self) -> pathlib.Path:
        return self.state / 'logs'

    @property
    def containerd_socket(self) -> pathlib.Path:
        return self.run / 'containerd.sock'

    @property
    def registry(self) -> str:
        return f'127.0.0.1:{self.port("registry")}'

    @property
    def integration_bridge(self) -> str:
        """Name of the bridge: an interface, so at most 15 characters."""
        return f'kq-{self.port_base}'

    def port(self, name: str) -> int:
        return self.port_base + PORTS.index(name)

    def url(self, name: str) -> str:
        return f'http://127.0.0.1:{self.port(name)}'

    def program(self, name: str) -> str:
        """Path of a console script of the virtual environment."""
        return str(self.bin / name)

    def environment(self) -> dict[str, str]:
        """Environment of services: SITE_VARIABLES and fixed values only.

        Other variables of the caller's shell do harm. For example,
        PYTHONDONTWRITEBYTECODE would make each start of a service compile it
        again.
        """
        env = {name: os.environ[name] for name in SITE_VARIABLES
               if name in os.environ}
        env.update({
            'PATH': f'{self.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:'
                    '/usr/bin:/sbin:/bin',
            'HOME': str(self.data),
            'LANG': 'C.UTF-8',
            'NO_PROXY': '127.0.0.1,localhost',
            'no_proxy': '127.0.0.1,localhost',
            'PYTHONUNBUFFERED': '1',
            'PYTHONWARNINGS': 'ignore',
            # agents and ovs-* tools use these to find sockets
            'OVS_RUNDIR': str(self.run / 'ovs'),
            'OVS_DBDIR': str(self.data / 'ovs'),
            'OVS_LOGDIR': str(self.logs),
            MARKER: str(self.state),
        })
        return env

    def cloud_environment(self) -> dict[str, str]:
        """Environment variables with the clients' credentials."""
        return dict(CLOUD_VARIABLES,
                    OS_AUTH_URL=f'{self.url("keystone")}/v3',
                    OS_PASSWORD=self.passwords['admin'])

    def template_values(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            'state': self.state, 'etc': self.etc, 'data': self.data,
            'run': self.run, 'logs': self.logs, 'prefix': sys.prefix,
            'host': self.host, 'registry': self.registry,
            'integration_bridge': self.integration_bridge,
            'containerd_socket': self.containerd_socket,
            'host_memory_mib': host_memory_mib(),
            'host_cpus': os.cpu_count(),
            'kernel_package': os.environ.get('KATA_QUICKSTART_KERNEL', ''),
        }
        values.update({f'port_{name}': self.port(name) for name in PORTS})
        values.update({f'password_{name}': self.passwords[name]
                       for name in PASSWORDS})
        return values

    def render(self, template: str, target: pathlib.Path,
               **more: Any) -> pathlib.Path:
        """Render a file of templates/ to ``target``, mode 0600."""
        source = pathlib.Path(__file__).parent / 'templates' / template
        text = string.Template(source.read_text()).substitute(
            self.template_values(), **more)
        write_private(target, text)
        return target


def host_memory_mib() -> int:
    return (os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
            // 2**20)


def write_private(target: pathlib.Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f'.{target.name}.new')
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, 'w') as out:
        out.write(text)
    new.replace(target)


def check_path(state: pathlib.Path) -> None:
    """:raises QuickstartError: if no stack can be created below this path."""
    if len(str(state)) > MAX_STATE_DIR:
        raise QuickstartError(
            f'The path {state} is too long: paths of Unix sockets below it '
            'would exceed 107 bytes. Choose a path of at most '
            f'{MAX_STATE_DIR} characters with --state-dir.')
    if not PATH.fullmatch(str(state)):
        raise QuickstartError(
            f'The path {state} has a character that some services cannot '
            'read in their configuration. Choose a path of letters, digits '
            'and "/._-" with --state-dir.')


def open_stack(state: pathlib.Path, port_base: int | None) -> Stack:
    """Open the stack in a state folder; create it if it does not exist.

    :raises QuickstartError: if the path cannot be used, or ``port_base``
        changes while the stack runs.
    """
    state = state.resolve()
    if not (state / 'settings.json').exists():
        check_path(state)
    state.mkdir(parents=True, exist_ok=True)
    os.chmod(state, 0o755)  # noqa: S103 - unprivileged QEMU needs access
    settings = state / 'settings.json'
    kept = json.loads(settings.read_text()) if settings.exists() else {}
    base = port_base or kept.get('port_base', DEFAULT_PORT_BASE)
    host = kept.get('host', socket.gethostname())
    if (base, host) != (kept.get('port_base'), kept.get('host')):
        if kept and any((state / 'run').glob('*.pid')):
            raise QuickstartError(
                f'The stack runs with --port-base {kept["port_base"]}. Stop '
                'it before you change the ports.')
        write_private(settings, json.dumps({'port_base': base, 'host': host}))
    secret = state / 'passwords.json'
    passwords = json.loads(secret.read_text()) if secret.exists() else {}
    missing = set(PASSWORDS) - set(passwords)
    if missing:
        passwords.update({name: secrets.token_hex(16) for name in missing})
        write_private(secret, json.dumps(passwords, indent=1) + '\n')
    stack = Stack(
        state=state, port_base=base, host=host, passwords=passwords,
        repository=pathlib.Path(__file__).resolve().parents[2])
    for folder, mode in ((stack.etc, 0o700), (stack.data, 0o755),
                         (stack.run, 0o755), (stack.logs, 0o755),
                         (stack.run / 'ovs', 0o755),
                         (stack.data / 'ovs', 0o755)):
        folder.mkdir(exist_ok=True)
        os.chmod(folder, mode)
    return stack


def lock(stack: Stack) -> Any:
    """Lock the state folder; the lock is held until the handle is closed.

    :raises QuickstartError: if another quickstart holds it.
    """
    handle = open(stack.run / 'lock', 'w')
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise QuickstartError(
            f'Another quickstart uses {stack.state}. Wait until it ends, or '
            'choose another folder with --state-dir.') from None
    return handle
