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

"""Convert an OCI config for the host into one for the guest."""

import os
import re
from typing import Any

from kata_openstack.runtime.embedded.agent import system
from kata_openstack.runtime.embedded.shim.oci import refusals
from kata_openstack.runtime.embedded.vm import share

# The VM's own, which all containers of the pod share
_POD_NAMESPACES = ('network', 'ipc', 'uts')
_RESOURCES = ('memory', 'cpu', 'pids')
_MEMORY = ('limit', 'reservation', 'swap')
_CPU = ('shares', 'quota', 'period')
# containerd's or the caller's own files on the host, which a container may
# change: it gets a copy with little room, or it could fill the host's disk.
_POD_FILES = ('/etc/hostname', '/etc/hosts', '/etc/resolv.conf')
# With rro, mounts below it are read-only, too. Here they always are.
_READ_ONLY = frozenset(('ro', 'rro'))
# What containerd itself makes for one container (the volumes that its image
# declares) or one pod (its files). Nothing on the host changes these later;
# all else may be changed by others.
_OWN = re.compile(r'/io\.containerd\.grpc\.v1\.cri/(containers/[0-9a-f]{64}/'
                  r'volumes|sandboxes/[0-9a-f]{64})/')


def for_guest(config: dict[str, Any], container: str, terminal: bool,
              shared: share.Share, live: share.Share) -> dict[str, Any]:
    """Return the config for crun; put its bind mounts into the shares.

    :raises OSError: a mount failed.
    :raises refusals.Refused: the guest cannot honour the config.
    """
    refusals.check(config)
    linux = config.get('linux') or {}
    guest: dict[str, Any] = {
        # covers all fields below; crun 1.8 refuses the version that
        # containerd 1.7 and 2 write
        'ociVersion': '1.0.0',
        'root': {'path': f'{shared.inside}/{container}/rootfs',
                 'readonly': bool((config.get('root') or {})
                                  .get('readonly'))},
        'process': for_process(config['process'], terminal),
        'mounts': [_mount(item, number, container, shared, live)
                   for number, item in enumerate(config.get('mounts') or ())],
        'linux': {
            'cgroupsPath': f'{system.CONTAINERS}/{container}',
            'namespaces': [
                {'type': item['type']}
                for item in linux.get('namespaces') or ()
                if item['type'] not in _POD_NAMESPACES],
            'resources': resources(linux.get('resources') or {}),
            # the agent switches off address randomisation for crun, see
            # system.fix_addresses; this switches it on for the container
            'personality': {'domain': 'LINUX'},
            'maskedPaths': linux.get('maskedPaths') or [],
            'readonlyPaths': linux.get('readonlyPaths') or []}}
    if not any(item['type'] == 'cgroup'
               for item in guest['linux']['namespaces']):
        guest['linux']['namespaces'].append({'type': 'cgroup'})
    if linux.get('seccomp'):
        guest['linux']['seccomp'] = linux['seccomp']
    return guest


def for_process(process: dict[str, Any], terminal: bool) -> dict[str, Any]:
    """Return a process for crun.

    Security labels and the OOM score are dropped: they are meant for the
    host's kernel.

    :raises refusals.Refused: the guest cannot honour it.
    """
    refusals.check_process(process)
    dropped = ('apparmorProfile', 'selinuxLabel', 'oomScoreAdj',
               'consoleSize')
    guest = {key: value for key, value in process.items()
             if key not in dropped}
    guest['terminal'] = terminal
    return guest


def resources(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the limits that the guest's cgroup enforces.

    A cpuset is dropped: it names the host's CPUs.

    :raises refusals.Refused: the guest cannot honour them.
    """
    refusals.check_resources(wanted)
    found = {key: wanted[key] for key in _RESOURCES if wanted.get(key)}
    if 'memory' in found:
        found['memory'] = _only(found['memory'], _MEMORY)
    if 'cpu' in found:
        found['cpu'] = _only(found['cpu'], _CPU)
    if wanted.get('devices'):
        found['devices'] = wanted['devices']
    return found


def cpus(resources: dict[str, Any]) -> float:
    """Return the limit of CPUs, 0 for none."""
    cpu = resources.get('cpu') or {}
    quota, period = cpu.get('quota') or 0, cpu.get('period') or 0
    return quota / period if quota > 0 and period > 0 else 0


def _only(values: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: values[key] for key in keys
            if values.get(key) is not None}


def _mount(item: dict[str, Any], number: int, container: str,
           shared: share.Share, live: share.Share) -> dict[str, Any]:
    options = item.get('options') or []
    destination = os.path.normpath(item['destination'])
    if destination == '/dev/shm' and _is_pods(item, shared):  # noqa: S108
        return {'destination': destination, 'type': 'bind',
                'source': system.POD_SHM, 'options': ['rbind']}
    if refusals.is_bind(item):
        source = item['source']
        readonly = not _READ_ONLY.isdisjoint(options)
        if (destination in _POD_FILES and not readonly
                and os.path.isfile(source)):
            path = shared.add_copy(container, number, source)
        elif _OWN.search(source):
            path = shared.add_bind(container, source, readonly)
        else:
            path = live.add_bind(container, source, readonly)
        return {'destination': item['destination'], 'type': 'bind',
                'source': path, 'options': options}
    return item


def _is_pods(item: dict[str, Any], shared: share.Share) -> bool:
    """Return whether a mount at /dev/shm is the one that pods share.

    containerd keeps that in the sandbox's folder. Another folder is a volume
    of the user.
    """
    return (not refusals.is_bind(item)
            or item.get('source', '').endswith(f'/{shared.sandbox}/shm'))
