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

"""The proof: facts about containers, read from the running system.

Two containers are started with the command line client and keep running. A
third is created and deleted through the API, to measure the times and to
collect its lifecycle events.
"""

from collections.abc import Iterator
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import shlex
import signal
import subprocess
import time
from typing import Any

from tools.quickstart import node
from tools.quickstart import readiness
from tools.quickstart import settings

NAMES = ('quickstart-1', 'quickstart-2')
TIMED = 'quickstart-timed'
IMAGE = 'busybox'
SCRIPT = ('echo "hello from kernel $(uname -r)"; '
          'exec httpd -f -p 80 -h /www')
RUN_SECONDS = 120
# Seconds between two requests. Each takes CPU time that the create needs.
_PAUSE = 0.2
BOOT_ID = '/proc/sys/kernel/random/boot_id'


@dataclasses.dataclass
class Facts:
    """The facts of the proof, all read from the running system.

    Times are in seconds.
    """

    host_kernel: str
    host_boot_id: str
    kernel: str = ''
    boot_id: str = ''
    processes: str = ''
    handler: str = ''
    reason: str = ''
    accelerator: str = ''
    address: str = ''
    ping: str = ''
    log: str = ''
    run: str = ''
    create_to_running: float = 0.0
    delete: float = 0.0
    events: list[str] = dataclasses.field(default_factory=list)


def openstack(stack: settings.Stack, *arguments: str) -> str:
    """Run the command line client with the credentials of "env".

    :returns: its standard output.
    :raises QuickstartError: if it fails.
    """
    done = subprocess.run(
        [stack.program('openstack'), *arguments], capture_output=True,
        text=True, stdin=subprocess.DEVNULL,
        env=stack.environment() | stack.cloud_environment())
    if done.returncode:
        raise settings.QuickstartError(
            f'openstack {shlex.join(arguments)} failed with exit code '
            f'{done.returncode}:\n{done.stderr.strip()}{done.stdout}')
    return done.stdout.strip()


def wait_for(zun: Any, uuid: str, status: str) -> Any:
    deadline = time.monotonic() + RUN_SECONDS
    while True:
        container = zun.containers.get(uuid)
        if container.status == status:
            return container
        if container.status == 'Error' or time.monotonic() > deadline:
            raise settings.QuickstartError(
                f'Container {container.name} is {container.status}: '
                f'{container.status_reason or "Zun gives no reason"}')
        time.sleep(_PAUSE)


def wait_gone(zun: Any, uuid: str) -> None:
    from zunclient.common.apiclient import exceptions
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        try:
            zun.containers.get(uuid)
        except exceptions.NotFound:
            return
        time.sleep(_PAUSE)
    raise settings.QuickstartError(
        f'Container {uuid} still exists after {RUN_SECONDS} s of deletion. '
        'See the logs of zun-compute and kata-compute.')


def _run(stack: settings.Stack, zun: Any, name: str) -> Any:
    """The running container with this name, or a new one."""
    found = [container for container in zun.containers.list()
             if container.name == name]
    for container in found:
        if container.status == 'Running':
            return container
        zun.containers.delete(container.uuid, force=True)
        wait_gone(zun, container.uuid)
    uuid = openstack(stack, 'appcontainer', 'run', '--name', name, '-f',
                     'value', '-c', 'uuid', IMAGE, 'sh', '-c', SCRIPT)
    return wait_for(zun, uuid, 'Running')


@contextlib.contextmanager
def _events(stack: settings.Stack) -> Iterator[list[dict[str, Any]]]:
    """Collect lifecycle events; the list is filled when the block ends."""
    found: list[dict[str, Any]] = []
    path = stack.run / 'proof-events'
    with open(path, 'w') as out:
        watch = subprocess.Popen(
            [stack.program('kata-openstack'), '--config-file',
             str(stack.etc / 'kata-openstack/kata.conf'), 'events', 'watch',
             '--json'], stdout=out, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL, env=stack.environment())
    try:
        yield found
        time.sleep(1)  # for the last event to arrive
    finally:
        watch.send_signal(signal.SIGINT)
        try:
            watch.wait(5)
        except subprocess.TimeoutExpired:
            watch.kill()
            watch.wait()
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        path.unlink()


def _timed(zun: Any, facts: Facts) -> str:
    """Create and delete a container through the API, and time both.

    :returns: its UUID.
    """
    for left in zun.containers.list():
        if left.name == TIMED:
            zun.containers.delete(left.uuid, force=True)
            wait_gone(zun, left.uuid)
    began = time.monotonic()
    container = zun.containers.run(name=TIMED, image=IMAGE,
                                   command=['sleep', '600'])
    wait_for(zun, container.uuid, 'Running')
    facts.create_to_running = time.monotonic() - began
    began = time.monotonic()
    zun.containers.delete(container.uuid, force=True)
    wait_gone(zun, container.uuid)
    facts.delete = time.monotonic() - began
    return container.uuid


def address_of(container: Any) -> str:
    return next(address['addr'] for group in container.addresses.values()
                for address in group)


def collect(stack: settings.Stack) -> Facts:
    """Start the containers and collect the facts.

    :raises QuickstartError: if a container does not work as it must.
    """
    facts = Facts(host_kernel=os.uname().release,
                  host_boot_id=pathlib.Path(BOOT_ID).read_text().strip())
    zun = readiness.containers(stack)
    with concurrent.futures.ThreadPoolExecutor() as pool, \
            _events(stack) as events:
        first, second = pool.map(lambda name: _run(stack, zun, name), NAMES)
        facts.address = address_of(first)
        inside = pool.submit(
            openstack, stack, 'appcontainer', 'exec', NAMES[0], 'sh', '-c',
            f'uname -r; cat {BOOT_ID}; ps -o pid,comm')
        ping = pool.submit(openstack, stack, 'appcontainer', 'exec',
                           NAMES[1], 'ping', '-c', '3', facts.address)
        facts.log = openstack(stack, 'appcontainer', 'logs', NAMES[0])
        facts.kernel, facts.boot_id, facts.processes = (
            inside.result().split('\n', 2))
        facts.ping = next(
            (line for line in ping.result().splitlines()
             if 'packets received' in line), ping.result())
        status = node.show_pod(stack, first.uuid)
        facts.handler = status['handler']
        facts.reason = status['handler_reason']
        facts.accelerator = status['accelerator']
        uuid = _timed(zun, facts)
    facts.run = (f'openstack appcontainer run --name {NAMES[0]} {IMAGE} sh '
                 f'-c {shlex.quote(SCRIPT)}')
    facts.events = [describe(event) for event in events
                    if uuid in json.dumps(event)]
    _judge(facts)
    return facts


def describe(event: dict[str, Any]) -> str:
    """One line for an event in the JSON format of "events watch"."""
    return ' '.join(str(event[key]) for key in
                    ('timestamp', 'event_type') if key in event)


def _judge(facts: Facts) -> None:
    """Check that the facts prove a VM and a working network.

    :raises QuickstartError: if they do not.
    """
    if facts.boot_id == facts.host_boot_id:
        raise settings.QuickstartError(
            "The container has the host's boot id, so it does not run in a "
            'VM. Run "kata-openstack host check".')
    if ' 0% packet loss' not in facts.ping:
        raise settings.QuickstartError(
            f'{NAMES[1]} cannot ping {facts.address}: {facts.ping}. See '
            'the logs of ovs-agent and kata-compute.')


def render(facts: Facts, script: str) -> str:
    processes = ', '.join(
        line.split(None, 1)[1] for line in
        facts.processes.splitlines()[1:] if line.strip())
    lines = [
        '', f'$ {facts.run}', '',
        f'  host       kernel {facts.host_kernel}, boot id '
        f'{facts.host_boot_id}',
        f'  container  kernel {facts.kernel}, boot id {facts.boot_id}',
        f'  processes            {processes}',
        f'  handler              {facts.handler}: {facts.reason}',
        f'  accelerator          {facts.accelerator}',
        f'  address              {facts.address}; ping from {NAMES[1]}: '
        f'{facts.ping}',
        f'  log                  {facts.log.splitlines()[0]}',
        '', '  A third container, created and deleted through the Zun API:',
        f'  create to Running    {facts.create_to_running:.1f} s',
        f'  delete               {facts.delete:.1f} s',
        '  events               '
        + ('\n' + ' ' * 23).join(facts.events or ['none arrived']),
        '', 'Try next:', '',
        f'  eval "$({script} env)"',
        f'  openstack appcontainer exec {NAMES[0]} uname -a',
        f'  openstack appcontainer exec {NAMES[1]} wget -O - '
        f'http://{facts.address}/',
    ]
    return '\n'.join(lines)


def take(stack: settings.Stack, script: str) -> str:
    return render(collect(stack), script)
