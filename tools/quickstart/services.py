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

"""The services of the stack as data, and how to start and stop them."""

from collections.abc import Callable
import concurrent.futures
import dataclasses
import http.client
import os
import pathlib
import socket
import sys
import time

from tools.quickstart import process
from tools.quickstart import settings

READY_SECONDS = 120

Stack = settings.Stack


@dataclasses.dataclass(frozen=True)
class Service:
    """A service of the stack.

    ``needs`` are services and set-up steps. ``ready`` is called repeatedly
    until it returns True. Services of a higher ``layer`` are stopped first.
    """

    name: str
    command: list[str]
    ready: Callable[[], bool]
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    layer: int = 1
    port: int | None = None
    grace: float = 4  # seconds from SIGTERM to SIGKILL


def http_answers(port: int, path: str = '/') -> Callable[[], bool]:
    """Whether the API answers; a refusal (status 4xx) counts too."""

    def ask() -> bool:
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
        try:
            connection.request('GET', path)
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()

    return ask


def port_open(port: int) -> Callable[[], bool]:

    def ask() -> bool:
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
        except OSError:
            return False
        return True

    return ask


def socket_open(path: pathlib.Path) -> Callable[[], bool]:

    def ask() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(path))
            except OSError:
                return False
        return True

    return ask


def listens(stack: Stack, queue: str) -> Callable[[], bool]:
    """Whether the RPC queue has a consumer.

    The service's log does not show this, and the databases of Zun and Neutron
    are up to a minute behind.
    """

    def ask() -> bool:
        import amqp  # slow to import, and "status" does not need it
        connection = amqp.Connection(
            f'127.0.0.1:{stack.port("rabbitmq")}', userid='kata',
            password=stack.passwords['rabbitmq'], connect_timeout=5)
        try:
            connection.connect()
            found = connection.channel().queue_declare(queue, passive=True)
        except (OSError, amqp.AMQPError):
            return False
        finally:
            connection.collect()
        return found.consumer_count > 0

    return ask


def runs(stack: Stack, name: str) -> Callable[[], bool]:
    return lambda: process.find(stack, name) is not None


def start(stack: Stack, service: Service) -> str:
    """Start a service unless it runs, and wait until it is ready.

    :returns: a progress text.
    :raises QuickstartError: if it exits, or is not ready in READY_SECONDS.
    """
    running = process.find(stack, service.name)
    what = 'already running'
    if running is None:
        running = process.start(stack, service.name, service.command,
                                service.environment)
        what = 'started'
    deadline = time.monotonic() + READY_SECONDS
    while not service.ready():
        if not running.alive:
            raise settings.QuickstartError(
                f'{service.name} exited before it was ready:\n'
                + process.log_tail(stack, service.name))
        if time.monotonic() > deadline:
            raise settings.QuickstartError(
                f'{service.name} is not ready after {READY_SECONDS} s:\n'
                + process.log_tail(stack, service.name))
        time.sleep(0.1)
    return what


def _wsgi(stack: Stack, name: str, module: str, needs: tuple[str, ...],
          arguments: tuple[str, ...] = (),
          environment: dict[str, str] | None = None,
          path: str = '/') -> Service:
    port = stack.port(name.removesuffix('-api'))
    launcher = str(pathlib.Path(__file__).with_name('wsgi.py'))
    # -P keeps the launcher's folder out of sys.path, where its modules would
    # shadow others of the same name
    return Service(
        name, [sys.executable, '-P', launcher, str(port), module, *arguments],
        http_answers(port, path), needs, environment or {}, 3, port)


def _messaging(stack: Stack) -> list[Service]:
    data = stack.data / 'rabbitmq'
    erlang = {
        'HOME': str(data),  # contains the Erlang cookie
        'ERL_EPMD_PORT': str(stack.port('epmd')),
        'ERL_EPMD_ADDRESS': '127.0.0.1',
    }
    rabbit = erlang | {
        'RABBITMQ_NODENAME': f'kata{stack.port_base}@localhost',
        'RABBITMQ_CONF_ENV_FILE': str(data / 'no-such-file'),
        'RABBITMQ_CONFIG_FILE': str(stack.etc / 'rabbitmq.conf'),
        'RABBITMQ_ADVANCED_CONFIG_FILE': str(data / 'no-such-file'),
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(stack.etc / 'rabbitmq_plugins'),
        'RABBITMQ_MNESIA_BASE': str(data / 'mnesia'),
        'RABBITMQ_LOG_BASE': str(stack.logs),
        'RABBITMQ_LOGS': '-',
        'RABBITMQ_PID_FILE': str(data / 'pid'),
        'RABBITMQ_GENERATED_CONFIG_DIR': str(data / 'config'),
        'RABBITMQ_DIST_PORT': str(stack.port('rabbitmq_dist')),
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
            '+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}',
    }
    return [
        # A separate port mapper: it can be stopped like any service, and
        # the machine's own port mapper is left alone.
        Service('epmd', ['epmd', '-address', '127.0.0.1', '-port',
                         str(stack.port('epmd'))],
                port_open(stack.port('epmd')), (), erlang, 0,
                stack.port('epmd')),
        Service('rabbitmq', ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
                port_open(stack.port('rabbitmq')), ('epmd', 'files'),
                rabbit, 1, stack.port('rabbitmq'), 30),
    ]


def _storage(stack: Stack) -> list[Service]:
    sock = stack.run / 'mariadb.sock'
    return [
        Service('mariadb', [
            'mariadbd', '--no-defaults', '--user=root',
            f'--datadir={stack.data}/mariadb', f'--socket={sock}',
            f'--pid-file={stack.run}/mariadb.self', '--skip-networking',
            '--skip-log-bin', '--performance-schema=0',
            '--innodb-buffer-pool-size=64M', '--max-connections=200',
            '--innodb-flush-log-at-trx-commit=2'],
            socket_open(sock), ('mariadb files',), layer=0, grace=30),
        Service('registry', ['docker-registry', 'serve',
                             str(stack.etc / 'registry.yml')],
                http_answers(stack.port('registry'), '/v2/'), ('files',),
                layer=0, port=stack.port('registry')),
    ]


def _openvswitch(stack: Stack) -> list[Service]:
    ovs = stack.run / 'ovs'
    return [
        Service('ovsdb', [
            'ovsdb-server', str(stack.data / 'ovs/conf.db'),
            f'--remote=punix:{ovs}/db.sock', f'--unixctl={ovs}/ovsdb.ctl'],
            socket_open(ovs / 'db.sock'), ('ovs database',), layer=0),
        Service('vswitchd', [
            'ovs-vswitchd', f'unix:{ovs}/db.sock',
            f'--unixctl={ovs}/vswitchd.ctl'],
            socket_open(ovs / 'vswitchd.ctl'), ('ovs schema',)),
    ]


def _control_plane(stack: Stack) -> list[Service]:
    etc = stack.etc
    neutron = ('--config-file', str(etc / 'neutron/neutron.conf'),
               '--config-file', str(etc / 'neutron/ml2.ini'))
    zun = ('--config-file', str(etc / 'zun/zun.conf'))
    return [
        _wsgi(stack, 'keystone', 'keystone.wsgi.api', ('keystone database',),
              environment={'OS_KEYSTONE_CONFIG_FILES':
                           str(etc / 'keystone/keystone.conf')},
              path='/v3'),
        _wsgi(stack, 'placement', 'placement.wsgi.api',
              ('placement database',),
              environment={'OS_PLACEMENT_CONFIG_DIR':
                           str(etc / 'placement')}),
        _wsgi(stack, 'glance', 'glance.wsgi.api', ('glance database',),
              environment={'OS_GLANCE_CONFIG_DIR': str(etc / 'glance')}),
        _wsgi(stack, 'neutron-api', 'neutron.wsgi.api',
              ('neutron database', 'rabbitmq'), neutron),
        _wsgi(stack, 'zun-api', 'zun.wsgi.api',
              ('zun database', 'rabbitmq'), zun),
        Service('neutron-rpc', [stack.program('neutron-rpc-server'),
                                *neutron],
                listens(stack, 'q-plugin'),
                ('neutron database', 'rabbitmq'), layer=3),
        Service('ovs-agent', [stack.program('neutron-openvswitch-agent'),
                              *neutron],
                runs(stack, 'ovs-agent'),
                ('ovs bridge', 'neutron-rpc', 'rabbitmq'), layer=3,
                port=stack.port('openflow')),
        Service('zun-wsproxy', [stack.program('zun-wsproxy'), *zun],
                port_open(stack.port('wsproxy')),
                ('zun database', 'rabbitmq'), layer=3,
                port=stack.port('wsproxy')),
        Service('zun-compute', [stack.program('zun-compute'), *zun],
                listens(stack, f'zun-compute.{stack.host}'),
                ('zun database', 'rabbitmq', 'identity', 'placement',
                 'neutron-api', 'kata-compute'),
                {'GRPC_ENABLE_FORK_SUPPORT': 'false'}, layer=3),
    ]


def _node(stack: Stack) -> list[Service]:
    conf = ('--config-file', str(stack.etc / 'kata-openstack/kata.conf'))
    return [
        Service('containerd', [
            'containerd', '--config',
            str(stack.etc / 'containerd/config.toml')],
            socket_open(stack.containerd_socket),
            ('containerd files', 'registry')),
        Service('kata-compute', [stack.program('kata-compute'), *conf],
                listens(stack, f'kata-compute.{stack.host}'),
                ('containerd', 'rabbitmq', 'ovs bridge'), layer=2,
                port=stack.port('console')),
    ]


def all_services(stack: Stack) -> list[Service]:
    return [*_messaging(stack), *_storage(stack), *_openvswitch(stack),
            *_control_plane(stack), *_node(stack)]


def by_name(stack: Stack, name: str) -> Service:
    services = {service.name: service for service in all_services(stack)}
    if name not in services:
        raise settings.QuickstartError(
            f'Unknown service {name}. The services are: '
            f'{", ".join(sorted(services))}.')
    return services[name]


def _stop_one(stack: Stack, service: Service) -> None:
    running = process.find(stack, service.name)
    if running:
        workers = process.descendants(running, same_session=True)
        process.end([running], service.grace)
        # workers outlive a parent that was killed
        process.end(workers, 1)
    process.pid_file(stack, service.name).unlink(missing_ok=True)


def stop(stack: Stack, services: list[Service]) -> None:
    """Stop by layers, highest first; in a layer all in parallel."""
    for layer in sorted({service.layer for service in services},
                        reverse=True):
        members = [service for service in services
                   if service.layer == layer]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for _ in pool.map(lambda service: _stop_one(stack, service),
                              members):
                pass


def restricted_oom() -> bool:
    """Whether CAP_SYS_RESOURCE is missing.

    Without it, containerd cannot lower an oom_score_adj.
    """
    capability = 24
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
        if line.startswith('CapEff:'):
            return not int(line.split()[1], 16) >> capability & 1
    return os.geteuid() != 0
