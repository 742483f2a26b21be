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

"""Base of the end-to-end tests: a running stack of tools/quickstart.sh.

KATA_E2E_STATE names the folder of the stack; tools/test.sh creates one.
"""

import dataclasses
import functools
import os
import pathlib
import subprocess
import time
from typing import Any
import uuid

import testtools
from zunclient.common.apiclient import exceptions as zun_exc

from tools.quickstart import cleanup
from tools.quickstart import configuration
from tools.quickstart import identity
from tools.quickstart import node
from tools.quickstart import process
from tools.quickstart import proof
from tools.quickstart import readiness
from tools.quickstart import services
from tools.quickstart import settings

SECONDS = 90
IMAGE = 'busybox'
SLEEP = ['sleep', '3600']


@functools.cache
def stack() -> settings.Stack:
    state = os.environ.get('KATA_E2E_STATE')
    if not state or not pathlib.Path(state, 'settings.json').exists():
        raise RuntimeError('No running stack: run tools/test.sh e2e, or set '
                           'KATA_E2E_STATE to the folder of a stack.')
    return settings.open_stack(pathlib.Path(state), None)


@functools.cache
def cloud() -> Any:
    return identity.connect(stack())


@functools.cache
def zun() -> Any:
    return readiness.containers(stack(), cloud())


@dataclasses.dataclass
class Left:
    """Names of the resources of containers on a node and in Neutron."""

    neutron_ports: set[str]
    switch_ports: set[str]
    sandboxes: set[str]
    pods: set[str]
    shared_memory: set[str]
    mounts: set[str]
    processes: set[str]

    def beyond(self, before: 'Left') -> dict[str, set[str]]:
        """Resources that did not exist before, by field."""
        return {field.name: more for field in dataclasses.fields(self)
                if (more := getattr(self, field.name)
                    - getattr(before, field.name))}


def memory() -> pathlib.Path:
    """The tmpfs for the memory of VMs."""
    return stack().run / 'kata/embedded/memory'


def _memory_of_vms() -> set[str]:
    """A template stays, for the next VM of its size."""
    return {name for name in os.listdir(memory())
            if not name.startswith('template-')}


def name_of(pid: int) -> str:
    try:
        return pathlib.Path(f'/proc/{pid}/comm').read_text().strip()
    except OSError:
        return ''


def ctr(*arguments: str) -> str:
    return process.run(stack(), [
        'ctr', '--address', str(stack().containerd_socket), '--namespace',
        'k8s.io', *arguments], 'ctr')


def openstack(*arguments: str, check: bool = True) -> str:
    """Run the command line client with the credentials of the stack."""
    done = subprocess.run(
        [stack().program('openstack'), *arguments], capture_output=True,
        text=True, stdin=subprocess.DEVNULL,
        env=stack().environment() | stack().cloud_environment())
    if check and done.returncode:
        raise AssertionError(f'openstack {arguments}: {done.stderr}')
    return (done.stdout + ('' if check else done.stderr)).strip()


def wait_until(what: str, ask: Any, seconds: float = SECONDS) -> Any:
    """Call ``ask`` until it returns a true value, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f'{what}: not within {seconds} s')
        time.sleep(0.2)


class TestCase(testtools.TestCase):
    """Not based on oslotest, which would print every request of each wait."""

    def name(self) -> str:
        return f'e2e-{uuid.uuid4().hex[:8]}'

    def run_container(self, command: list[str] | None = None,
                      **arguments: Any) -> Any:
        """Start a container, and remove it after the test."""
        container = self.create('run', command, **arguments)
        return proof.wait_for(zun(), container.uuid, 'Running')

    def create(self, call: str = 'create', command: list[str] | None = None,
               **arguments: Any) -> Any:
        """Create a container without waiting; remove it after the test.

        :returns: the answer of the API
        """
        arguments.setdefault('image', IMAGE)
        arguments.setdefault('name', self.name())
        container = getattr(zun().containers, call)(
            command=command or SLEEP, **arguments)
        self.addCleanup(self.remove, container.uuid)
        return container

    def remove(self, container: str) -> None:
        """Remove a container in any state, and wait until it is gone."""

        def accepted() -> bool:
            try:
                zun().containers.delete(container, force=True)
            except zun_exc.Conflict:
                return False  # busy
            except zun_exc.NotFound:
                pass
            return True

        def gone() -> bool:
            try:
                zun().containers.get(container)
            except zun_exc.NotFound:
                return True
            return False

        # Delete only once: Zun answers 500 to a second request that arrives
        # just after the first is done.
        wait_until(f'{container} can be deleted', accepted)
        wait_until(f'{container} is deleted', gone)

    def create_capsule(self, template: dict[str, Any],
                       status: str = 'Running') -> Any:
        """Create a capsule, and remove it after the test.

        :param status: the one in which its start must end
        """
        capsules = zun().capsules
        capsule = capsules.create(template=template)
        self.addCleanup(self.remove_capsule, capsule.uuid)

        def ended() -> Any:
            found = capsules.get(capsule.uuid)
            return found.status in ('Running', 'Error') and found

        found = wait_until('the capsule has started', ended)
        self.assertEqual(status, found.status,
                         getattr(found, 'status_reason', None))
        return found

    def remove_capsule(self, uuid: str) -> None:
        capsules = zun().capsules
        if any(c.uuid == uuid for c in capsules.list()):
            capsules.delete(uuid)
        wait_until('the capsule is gone', lambda: not any(
            c.uuid == uuid for c in capsules.list()))

    def capsule_log(self, container: dict[str, Any]) -> str:
        """Return the log of a capsule's container, which Zun does not show."""
        return str(node.api(stack()).logs(node.CONTEXT, stack().host,
                                          container['uuid']))

    def wait_status(self, container: Any, status: str) -> Any:
        return wait_until(
            f'{container.name} is {status}',
            lambda: (found := zun().containers.get(container.uuid)).status
            == status and found.task_state is None and found)

    def pod(self, container: Any) -> dict[str, Any]:
        """The status of the pod from kata-compute."""
        return node.show_pod(stack(), container.uuid)

    def execute(self, container: Any, command: str) -> tuple[str, int]:
        """Run a command, and return its output and exit code."""
        done = zun().containers.execute(container.uuid, command=command,
                                        run=True)
        return done['output'], done['exit_code']

    def output(self, container: Any, command: str) -> str:
        output, code = self.execute(container, command)
        self.assertEqual(0, code, output)
        return output.strip()


class AloneTestCase(TestCase):
    """A test that no other one may disturb.

    It looks at all that there is on the node, or takes the stack away from
    others. The names of these classes end with AloneTest: tools/test.sh runs
    them one by one, after the others, of which it runs two at a time.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        assert cls.__name__.endswith('AloneTest'), cls

    def assert_nothing_left(self, before: Left) -> None:
        """Wait up to 15 s: clean-up may end after the API's answer."""
        deadline = time.monotonic() + 15
        while (more := self.look().beyond(before)):
            if time.monotonic() > deadline:
                self.fail(f'left behind: {more}')
            time.sleep(0.3)

    def start_service(self, name: str) -> None:
        services.start(stack(), services.by_name(stack(), name))
        if name in ('zun-compute', 'kata-compute'):
            readiness.wait(stack())

    def look(self) -> Left:
        found = process.of_stack(stack())
        return Left(
            neutron_ports={port.id for port in cloud().network.ports()},
            switch_ports=set(configuration.vsctl(
                stack(), 'list-ports', stack().integration_bridge).split()),
            sandboxes=set(ctr('containers', 'list', '-q').split()),
            pods={pod['uuid'] for pod in node.api(stack()).list_pods(
                node.CONTEXT, stack().host)},
            shared_memory=_memory_of_vms(),
            mounts=set(cleanup.mounts(stack())) - {str(memory())},
            processes={f'{p.pid} {name}' for p in found
                       if (name := name_of(p.pid)).startswith(
                           ('qemu', 'virtiofsd', 'containerd-shim'))})
