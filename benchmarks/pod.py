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

"""Measures a pod of the embedded runtime, through containerd's CRI.

Starts a private containerd that uses KVM if the host can, otherwise
emulation. The first round is not counted, because it fills caches.
``pod.bare_boot_s`` is the baseline: a boot of the same QEMU, kernel, image and
agent without a template, containerd and shim.

The memory of an idle pod is measured in three ways. ``pod.idle_cgroup_mib`` is
what the kernel counts against the pod's limit: shim, QEMU, virtiofsd and the
RAM, also pages that nothing maps. ``pod.idle_pss_mib`` counts the pages that
the three map. ``pod.idle_tmpfs_mib`` is what the tmpfs for the memory of VMs
has more than without the pod. ``pod.start_cpu_s`` is the CPU time of the pod's
processes until its container runs.
"""

import asyncio
import json
import os
import pathlib
import re
import tempfile
import time
from typing import Any

from benchmarks import report
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.vm import agent_channel
from kata_openstack.runtime.embedded.vm import jail
from kata_openstack.runtime.embedded.vm import machine
from kata_openstack.runtime.embedded.vm import pod_cgroup
from kata_openstack.runtime.embedded.vm import qemu
from kata_openstack.runtime.embedded.vm import ram
from kata_openstack.runtime.embedded.vm import size as sizes
from kata_openstack.runtime.embedded.vm import users
from tests.functional import containerd
from tests.functional import images
from tests.functional import kata

_HANDLER = 'kata-embedded'
_EXECS = 3
_IDLE_SECONDS = 2.0


def one_round(client: cri.CriClient, config: settings.Settings,
              logs: pathlib.Path) -> dict[str, list[float]]:
    """Measure one pod with one container.

    :returns: seconds or MiB by key.
    """
    name = f'bench-{time.monotonic_ns()}'
    pod = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=name, uid=name,
                                       namespace='bench'),
        hostname='bench', log_directory=str(logs),
        linux=pb.LinuxPodSandboxConfig())
    times = {}
    before = used_mib(config)
    began = time.monotonic()
    sandbox = client.run_pod_sandbox(pod, _HANDLER)
    times['pod.run_pod_sandbox_s'] = [time.monotonic() - began]
    try:
        container = client.create_container(sandbox, pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name='main'),
            image=pb.ImageSpec(image=images.BUSYBOX),
            command=['sleep', '3600'], log_path='main.log',
            linux=pb.LinuxContainerConfig()), pod)
        began = time.monotonic()
        client.start_container(container)
        times['pod.start_container_s'] = [time.monotonic() - began]
        group = pod_cgroup.Cgroup(state_of(config, sandbox)['cgroup'])
        times['pod.start_cpu_s'] = [cpu_seconds(group)]
        times['pod.exec_true_s'] = []
        for _ in range(_EXECS):
            began = time.monotonic()
            client.exec_sync(container, ['true'], 60)
            times['pod.exec_true_s'].append(time.monotonic() - began)
        time.sleep(_IDLE_SECONDS)
        times['pod.idle_pss_mib'] = [pss(config, sandbox)]
        times['pod.idle_cgroup_mib'] = [cgroup_mib(group)]
        times['pod.idle_tmpfs_mib'] = [used_mib(config) - before]
    finally:
        client.stop_pod_sandbox(sandbox)
        client.remove_pod_sandbox(sandbox)
    return times


def state_of(config: settings.Settings, sandbox: str) -> dict[str, Any]:
    """The state file of a sandbox."""
    with open(f'{config.sandbox_path(sandbox)}/state.json') as file:
        return json.load(file)


def used_mib(config: settings.Settings) -> float:
    """What the tmpfs for the memory of VMs holds."""
    found = os.statvfs(config.memory_path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize / sizes.MIB


def cgroup_mib(group: pod_cgroup.Cgroup) -> float:
    """The memory that counts against the limit of a cgroup."""
    return int(read(group, 'memory.current', 'memory.usage_in_bytes')
               ) / sizes.MIB


def cpu_seconds(group: pod_cgroup.Cgroup) -> float:
    """The CPU time that all processes of a cgroup have used."""
    found = read(group, 'cpuacct.usage', 'cpu.stat')
    if found.startswith('usage_usec'):
        return int(found.split()[1]) / 1e6
    return int(found) / 1e9


def read(group: pod_cgroup.Cgroup, *names: str) -> str:
    """The first of these files that the cgroup has, in v1 or v2."""
    for name in names:
        for folder in group.folders:
            path = pathlib.Path(folder, name)
            if path.exists():
                return path.read_text().strip()
    raise RuntimeError(f'{group.path} has none of {names}')


def pss(config: settings.Settings, sandbox: str) -> float:
    """Proportional set size of shim, QEMU and virtiofsd together, in MiB.

    Includes RAM that the VM has touched but does not use now, because pages
    of the RAM file count where they are mapped. Only QEMU and virtiofsd map
    the file.
    """
    state = state_of(config, sandbox)
    total = 0
    for pid in family({state['shim'], state['qemu'], state['virtiofsd']}):
        rollup = pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text()
        found = re.search(r'^Pss: +(\d+) kB', rollup, re.MULTILINE)
        assert found
        total += int(found[1])
    return total / 1024


def family(pids: set[int]) -> set[int]:
    """The given processes and all their descendants."""
    found = set(pids)
    while True:
        more = {int(child) for pid in found for task in
                pathlib.Path(f'/proc/{pid}/task').iterdir()
                for child in (task / 'children').read_text().split()}
        if more <= found:
            return found
        found |= more


async def bare_boot(config: settings.Settings) -> float:
    """Seconds from the start of QEMU until the agent answers."""
    size = sizes.choose({}, config)
    ram_path = f'{config.memory_path}/bench-{os.getpid()}'
    uid = users.template_uid(config)
    os.close(ram.create(ram_path, size.memory_mib * sizes.MIB, uid))
    try:
        with tempfile.TemporaryDirectory(dir=config.state_path) as folder:
            began = time.monotonic()
            pid, agent_socket, monitor = machine.start_qemu(
                config, size, uid, folder,
                {jail.RAM: ram_path, '/kernel': config.kernel,
                 '/initrd': config.initrd},
                qemu.boot(config.accelerator, '/kernel', '/initrd'), [])
            agent = agent_channel.Channel(agent_socket, lambda reason: None,
                                    lambda container: None)
            try:
                await agent.ready
                return time.monotonic() - began
            finally:
                machine.end_process(pid)
                agent.close('')
                monitor.close()
    finally:
        machine.remove_file(ram_path)


def main() -> None:
    options = report.parser('pod', __doc__).parse_args()
    handlers = kata.prepared()
    config = settings.Settings.load(
        str(kata.STATE / 'lib' / 'embedded' / 'embedded.json'))
    values: dict[str, list[float]] = {}
    with containerd.Containerd(
            handlers, env={'PATH': f'{kata.programs()}:{os.environ["PATH"]}'}
            ) as service:
        logs = service.root / 'logs'
        logs.mkdir()
        one_round(service.client, config, logs)
        for _ in range(options.n):
            for key, more in one_round(service.client, config, logs).items():
                values.setdefault(key, []).extend(more)
    values['pod.bare_boot_s'] = [asyncio.run(bare_boot(config))
                                 for _ in range(3)]
    report.show({key: report.summary(
        found, 'MiB' if key.endswith('_mib') else 's')
        for key, found in values.items()}, options.json)


if __name__ == '__main__':
    main()
