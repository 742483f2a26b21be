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

"""Stops the stack, and removes all that it leaves on the machine."""

import contextlib
import json
import pathlib
import subprocess
import sys
import time

from tools.quickstart import configuration
from tools.quickstart import graph
from tools.quickstart import process
from tools.quickstart import readiness
from tools.quickstart import services
from tools.quickstart import settings

CONTAINER_SECONDS = 60
BOOT_ID = pathlib.Path('/proc/sys/kernel/random/boot_id')
# libcni's records of running pods; containerd has no option to move them
CNI_RESULTS = pathlib.Path('/var/lib/cni/results')


def stop(stack: settings.Stack, progress: graph.Progress) -> None:
    """Stop containers, then services, then remove remains of crashes.

    Containers come first, because stopping them needs the services.
    """
    if all(process.find(stack, name) for name in (
            'zun-api', 'zun-compute', 'kata-compute', 'containerd',
            'keystone', 'rabbitmq')):
        _stop_containers(stack, progress)
    services.stop(stack, services.all_services(stack))
    left = process.of_stack(stack)
    process.end(left, 3)
    _unmount(stack)
    _remove_interfaces(stack)
    forget_runtime_state(stack)
    for folder in (CNI_RESULTS, CNI_RESULTS.parent):
        with contextlib.suppress(OSError):  # missing, or others use it
            folder.rmdir()
    progress.say('stopped all services'
                 + (f'; ended {len(left)} leftover processes' if left
                    else ''))


def forget_runtime_state(stack: settings.Stack) -> None:
    """Remove files that describe running processes; none may run now."""
    for path in (stack.data / 'ovs/conf.db', stack.run / 'ovs',
                 stack.run / 'containerd', stack.run / 'kata',
                 *stack.run.glob('*.pid'), *stack.run.glob('*.sock*')):
        configuration.remove(path)


def after_reboot(stack: settings.Stack) -> None:
    """Remove runtime state of an earlier boot from the state folder."""
    now = BOOT_ID.read_text()
    kept = stack.run / 'boot-id'
    if kept.exists() and kept.read_text() != now:
        forget_runtime_state(stack)
        (stack.run / 'ovs').mkdir()
    kept.write_text(now)


def _stop_containers(stack: settings.Stack,
                     progress: graph.Progress) -> None:
    """Stop running containers and delete capsules.

    "up" and "openstack appcontainer start" start the containers again. Zun
    cannot stop capsules.
    """
    try:
        zun = readiness.containers(stack)
        running = [container for container
                   in zun.containers.list(all_projects=True)
                   if container.status in ('Running', 'Paused')]
        for container in running:
            zun.containers.stop(container.uuid, 2)
        capsules = zun.capsules.list(all_projects=True)
        for capsule in capsules:
            zun.capsules.delete(capsule.uuid)
        deadline = time.monotonic() + CONTAINER_SECONDS
        while time.monotonic() < deadline:
            busy = [container for container
                    in zun.containers.list(all_projects=True)
                    if container.status in ('Running', 'Paused')]
            if not busy and not zun.capsules.list(all_projects=True):
                break
            time.sleep(0.3)
    except Exception as e:
        # go on: "stop" must also work on a broken stack
        progress.say(f'cannot stop containers through Zun: {e}')
        return
    if running or capsules:
        progress.say(f'stopped {len(running)} containers, '
                     f'deleted {len(capsules)} capsules')


def mounts(stack: settings.Stack) -> list[str]:
    """Mount points below the state folder, deepest first."""
    found = []
    for line in pathlib.Path('/proc/self/mountinfo').read_text().splitlines():
        # the kernel writes a space as \040
        point = line.split()[4].replace('\\040', ' ')
        if point.startswith(f'{stack.state}/'):
            found.append(point)
    return sorted(found, key=len, reverse=True)


def _unmount(stack: settings.Stack) -> None:
    for point in mounts(stack):
        subprocess.run(['umount', point], capture_output=True)
    for point in mounts(stack):
        subprocess.run(['umount', '--lazy', point], capture_output=True)


def _remove_interfaces(stack: settings.Stack) -> None:
    """Remove the switch's interfaces, which outlive its process.

    The switch makes its taps persistent, and a veth exists as long as its
    peer does.
    """
    if not (stack.data / 'ovs/conf.db').exists():
        return
    for name in [*recorded_ports(stack), 'ovs-netdev']:
        # ignore errors: most of them no longer exist
        subprocess.run(['ip', 'link', 'delete', name], capture_output=True)


def recorded_ports(stack: settings.Stack) -> list[str]:
    """Names of the switch's interfaces, from its database on disk."""
    database = stack.data / 'ovs/conf.db'
    done = subprocess.run(
        ['ovsdb-tool', 'query', str(database),
         '["Open_vSwitch", {"op": "select", "table": "Interface", '
         '"where": [], "columns": ["name"]}]'],
        capture_output=True, text=True)

    try:
        rows = json.loads(done.stdout)[0]['rows']
    except (ValueError, KeyError, IndexError):
        return []
    return [row['name'] for row in rows]


def remove_state(stack: settings.Stack) -> None:
    left = mounts(stack)
    if left:
        raise settings.QuickstartError(
            f'Cannot unmount {", ".join(left)}; no file was removed. Find '
            'the programs that use it with "fuser -m", stop them, and run '
            'this again.')
    for path in stack.state.iterdir():
        configuration.remove(path)
    configuration.remove(stack.state)
    sys.stdout.flush()
