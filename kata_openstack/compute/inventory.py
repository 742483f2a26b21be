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

"""The node's resources and handlers, for Zun's scheduler."""

import os
import platform
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack.compute.pods import admission
from kata_openstack.compute.pods import disks
from kata_openstack.compute.pods import view
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import node

LOG = logging.getLogger(__name__)


class Inventory:
    """Collects the node information. Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 native_: native.NativeClient, node_: node.Node,
                 disks_: disks.Disks) -> None:
        self._conf = conf
        self._client = client
        self._native = native_
        self._node = node_
        self._disks = disks_
        self._disk: dict[str, Any] = {}
        self._said = ''

    def get(self) -> dict[str, Any]:
        """Return the answer to the RPC call get_node_info.

        Without containerd it has no runtimes, so that no containers are
        scheduled to this node; it is not an error.
        """
        try:
            configured = self._client.handlers()
            views = view.read_all(self._client).values()
            self._disk = self._disks.info()
        except exception.ContainerdUnavailable as e:
            LOG.warning('Reporting no runtimes: %s', e)
            configured, views = set(), {}.values()
        states = self._node.handlers(configured)
        runtimes = self._node.runtimes(configured)
        self._tell(states, runtimes)
        containers = [c for v in views for c in v.current_containers()]
        running = [c.id for c in containers if c.state == pb.CONTAINER_RUNNING]
        paused = sum(map(self._native.is_paused, running))
        memory = _memory()
        held_back = admission.held_back_mib(
            self._conf, [v.sandbox for v in views])
        return {
            'runtimes': runtimes,
            'handlers': [s.to_dict() for s in states],
            'traits': traits(states),
            'architecture': platform.machine(),
            'os_type': platform.system().lower(),
            'os': _os_name(),
            'kernel_version': platform.release(),
            'cpus': os.cpu_count() or 1,
            'mem_total': memory['MemTotal'],
            'mem_held_back': held_back,
            'mem_available': memory['MemAvailable'],
            'mem_free': memory['MemFree'],
            'mem_used': memory['MemTotal'] - memory['MemAvailable'],
            'running_containers': len(running) - paused,
            'stopped_containers': len(containers) - len(running),
            'paused_containers': paused,
            'total_containers': len(containers),
            'labels': {},
            **self._disk,  # the last known
        }

    def _tell(self, states: list[node.HandlerState],
              runtimes: list[str]) -> None:
        """Log the handlers if they differ from those logged last."""
        lines = [f'{s.name}: {"usable" if s.usable else "not usable"}, '
                 f'{s.reason}{" " + s.remedy if s.remedy else ""}'
                 for s in states]
        text = '; '.join(lines)
        if text == self._said:
            return
        self._said = text
        if runtimes:
            LOG.info('Runtimes of this node: %s (%s)', ', '.join(runtimes),
                     text)
        else:
            LOG.error('No usable runtime handler: no containers will be '
                      'scheduled to this node: %s', text)


def traits(states: list[node.HandlerState]) -> dict[str, bool]:
    """Return the custom traits; none if no handler is usable.

    They are objects.TRAIT, and one per usable hypervisor and accelerator.
    """
    usable = [s for s in states if s.usable]
    names = {s.hypervisor for s in usable}
    names |= {s.accelerator for s in usable if s.accelerator}
    found = {f'{objects.TRAIT}_{n.upper().replace("-", "_")}': True
             for n in names}
    return {objects.TRAIT: True, **found} if usable else {}


def _memory() -> dict[str, int]:
    """Return the fields of /proc/meminfo, in MiB."""
    with open('/proc/meminfo') as lines:
        fields = (line.split() for line in lines)
        return {f[0].rstrip(':'): int(f[1]) // 1024 for f in fields}


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')
    except OSError:
        return platform.system()
