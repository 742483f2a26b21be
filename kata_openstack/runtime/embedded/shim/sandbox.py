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

"""A sandbox in the shim's daemon: one VM and its containers."""

import asyncio
import json
import os
import select
import time
from typing import Any

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.shim import event_publisher
from kata_openstack.runtime.embedded.shim import guest_process
from kata_openstack.runtime.embedded.shim import log
from kata_openstack.runtime.embedded.shim.oci import grouping
from kata_openstack.runtime.embedded.shim.oci import refusals
from kata_openstack.runtime.embedded.shim.oci import spec
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.embedded.virtiofs import live
from kata_openstack.runtime.embedded.virtiofs import open_files
from kata_openstack.runtime.embedded.vm import agent_channel
from kata_openstack.runtime.embedded.vm import clock
from kata_openstack.runtime.embedded.vm import machine
from kata_openstack.runtime.embedded.vm import pod_cgroup
from kata_openstack.runtime.embedded.vm import qmp
from kata_openstack.runtime.embedded.vm import restore
from kata_openstack.runtime.embedded.vm import size

_OOM_SECONDS = 1.0
_CUT_SECONDS = 10.0
_RESTORE_SECONDS = 150  # takes 0.5 s, but far more on an overloaded node
# why QEMU says that it ends, for people
_SHUTDOWNS = {
    'guest-reset': 'its kernel has rebooted or panicked',
    'guest-shutdown': 'its kernel has shut down',
    'guest-panic': 'its kernel has panicked',
    'host-signal': 'a signal has ended QEMU'}


class Container:
    """A container.

    ``cpus``: its limit, 0 for none.

    :param guest: the OCI config for crun, None for a pod's sandbox.
    """

    def __init__(self, ident: str, bundle: str,
                 guest: dict[str, Any] | None) -> None:
        self.id = ident
        self.bundle = bundle
        self.guest = guest
        self.first: guest_process.Process
        self.execs: dict[str, guest_process.Process] = {}
        self.paused = False
        self.cpus = spec.cpus(((guest or {}).get('linux') or {}).get(
            'resources') or {})
        self.oom_told = 0.0


class Sandbox:
    """A sandbox, which restores its VM in the background.

    ``lost``: the reason why the VM ended by itself; '' if it did not.

    :param vm: a launched VM.
    :param own: see restore.restore().
    """

    def __init__(self, config: settings.Settings, record: state.State,
                 vm: machine.Machine, own: dict[str, Any],
                 publisher: event_publisher.Publisher) -> None:
        self.config = config
        self.vm = vm
        self.containers: dict[str, Container] = {}
        self.publisher = publisher
        self._record = record
        self._started = time.monotonic()
        self._stopping = False
        self._limited = False
        self.lost = ''
        self._tasks: set[asyncio.Task[None]] = set()
        self._watches: list[asyncio.Task[None]] = []
        self.agent = agent_channel.Channel(
            vm.agent, self._on_gone, self._on_oom)
        self._monitor = qmp.Qmp(vm.monitor)
        self._live = live.LiveShare(vm, self.agent, self._monitor,
                                    self._on_live_started,
                                    self._on_live_plugged)
        self._mute = False
        self._programs: dict[str, int] = {}  # pidfds by the log's name
        self._expect('qemu', vm.qemu_pid, 'QEMU')
        self._expect('virtiofsd', vm.virtiofsd_pid, 'virtiofsd')
        self._watches.append(asyncio.create_task(self._cut_logs()))
        self._files: open_files.Watch | None = None
        self.ready = asyncio.create_task(self._restore(own))
        # requests see the exception; without any, asyncio would warn
        self.ready.add_done_callback(
            lambda task: task.cancelled() or task.exception())

    @property
    def pid(self) -> int:
        """QEMU's pid, which stands for that of every process in the VM."""
        return self._record.qemu

    async def _restore(self, own: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(_RESTORE_SECONDS):
                release = await restore.restore(
                    self.vm, own, self.agent, self._monitor, self._step)
            self._monitor.watch()
        except (qmp.QmpError, agent_channel.AgentError, OSError,
                TimeoutError) as e:
            self.agent.close(str(e) or 'QEMU or virtiofsd did not answer '
                             f'within {_RESTORE_SECONDS} s')
            raise agent_channel.AgentGone(self._end) from e
        self._record.kernel = release
        self._record.save()
        self._watches.append(asyncio.create_task(
            clock.follow(self.agent, log.debug)))
        self._files = open_files.Watch(self._forget_files)
        self._watches.append(asyncio.create_task(self._files.run()))
        self._watch_files(self.vm.virtiofsd_pid)

    def _watch_files(self, virtiofsd: int) -> None:
        assert self._files
        try:
            self._files.add(virtiofsd)
        except OSError as e:
            log.error(f'cannot watch the open files of virtiofsd: {e}')

    async def _forget_files(self) -> None:
        try:
            await self.agent.call('drop_caches')
            self._step('the guest has forgotten files')
        except agent_channel.AgentError as e:
            log.debug(f'the guest did not forget files: {e}')

    async def until_ready(self) -> None:
        """Wait until the guest accepts containers.

        :raises agent_channel.AgentGone: the VM did not start, or has ended.
        """
        try:
            await asyncio.shield(self.ready)
        except asyncio.CancelledError:
            if not self.ready.cancelled():
                raise
        if self._stopping:
            raise agent_channel.AgentGone(self._end)

    async def share_live(self, container: Container) -> None:
        """Wait until the guest has the live share, if a container uses it.

        :raises agent_channel.AgentError: the text names the cause.
        """
        if self.vm.live.has(container.id):
            await self._live.plug()

    def _on_live_started(self, pid: int) -> None:
        self._record.virtiofsd_live = pid
        self._record.save()

    def _on_live_plugged(self, pid: int) -> None:
        self._expect('virtiofsd-live', pid, 'virtiofsd of the live share')
        self._watch_files(pid)
        self._step('the live share is plugged in')

    @property
    def _end(self) -> str:
        return self.lost or 'the sandbox was stopped'

    def limit_cpu(self) -> None:
        """Limit the pod's CPU time on the host, from its first process on.

        Before that, only programs of this project run in the VM: a limit
        would only make the start slower.
        """
        if self._limited:
            return
        self._limited = True
        try:
            pod_cgroup.Cgroup(self._record.cgroup).limit_cpu(
                self._record.cpus)
        except OSError as e:
            log.error(f'could not limit the CPU time of the pod: {e}')

    def change_cpu(self, container: Container,
                   resources: dict[str, Any]) -> None:
        """Follow a new CPU limit of a container, on the host.

        The limit of the pod is the sum of its containers' ones, and that of
        its start while one of them has none.
        """
        if container.guest is None or 'cpu' not in resources:
            return
        container.cpus = spec.cpus(resources)
        limits = [c.cpus for c in self.containers.values()
                  if c.guest is not None]
        if all(limits):
            self._record.cpus = sum(limits) + size.HOST_OVERHEAD_CPUS
            self._record.save()
            self._limited = False
            self.limit_cpu()

    def figures(self) -> dict[str, Any]:
        """Return what the pod uses on the host; {} if that is unknown."""
        try:
            return pod_cgroup.Cgroup(self._record.cgroup).figures()
        except (OSError, KeyError, ValueError) as e:
            if not self._mute:  # else a line for each request
                log.error(f'cannot read what the pod uses: {e}')
            self._mute = True
            return {}

    def moved_bytes(self) -> tuple[int, int]:
        """Return the bytes that the pod read from and wrote to disks.

        The guest has no disks: virtiofsd reads and writes for it. So the
        containers of a pod cannot be told apart.
        """
        return pod_cgroup.Cgroup(self._record.cgroup).moved_bytes()

    def _step(self, what: str) -> None:
        log.debug(f'{time.monotonic() - self._started:.3f} s: {what}')

    def _last_words(self) -> list[str]:
        """Return the last output of QEMU, and of each virtiofsd that ended.

        Each ends when another does, so any may have printed the cause.
        """
        words = []
        for name, pidfd in self._programs.items():
            ended = select.poll()
            ended.register(pidfd, select.POLLIN)
            if name == 'qemu' or ended.poll(0):
                words.append(agent_channel.last_words(
                    f'{self._record.folder}/{name}.log'))
        return [text for text in words if text]

    async def _cut_logs(self) -> None:
        """Keep the output of the VM's programs small until the VM ends."""
        while True:
            await asyncio.sleep(_CUT_SECONDS)
            for name in self._programs:
                log.cut(f'{self._record.folder}/{name}.log')

    # Unexpected ends

    def _expect(self, name: str, pid: int, called: str) -> None:
        """End the sandbox when this process ends."""
        pidfd = self._programs[name] = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(
            pidfd, self._on_process_gone, called)

    def _on_process_gone(self, name: str) -> None:
        self.agent.close(f'{name} has ended')

    def _on_gone(self, reason: str) -> None:
        """End the processes that were not started; the others have ended."""
        if not self._stopping:
            event = 'has ended' if self.ready.done() else 'did not start'
            why = _SHUTDOWNS.get(self._monitor.shutdown_reason())
            self.lost = ': '.join((f'the VM {event}', reason,
                                   *([why] if why else []),
                                   *self._last_words()))
            log.error(self.lost)
        self.stop_vm()
        for container in self.containers.values():
            for found in (container.first, *container.execs.values()):
                found.on_exit(137, False)

    def _on_oom(self, ident: str) -> None:
        container = self.containers.get(ident)
        now = time.monotonic()
        if container and now - container.oom_told > _OOM_SECONDS:
            container.oom_told = now
            self.publisher.publish('/tasks/oom', id=container.id)

    def stop_vm(self) -> None:
        """Stop the VM. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        loop = asyncio.get_running_loop()
        for pidfd in self._programs.values():
            loop.remove_reader(pidfd)
            os.close(pidfd)
        self.agent.close('the sandbox was stopped')
        self.ready.cancel()
        for watch in self._watches:
            watch.cancel()
        self._live.close()
        self.vm.kill()
        self._monitor.close()

    # Containers

    def add(self, request: dict[str, Any]) -> Container:
        """Prepare a container on the host, without a call to the guest.

        :param request: a CreateTaskRequest.
        :raises OSError: a mount failed; all mounts are undone.
        :raises refusals.Refused: the VM cannot honour its config.
        """
        ident = request['id']
        with open(f'{request["bundle"]}/config.json') as file:
            config = json.load(file)
        guest = None
        try:
            if grouping.is_sandbox(config):
                refusals.check(config)
            else:
                self.check_size((config.get('linux') or {}).get('resources')
                                or {})
                refusals.check_root(request['rootfs'])
                self.vm.share.add_rootfs(
                    ident, request['rootfs'] or _plain_root(config, request))
                guest = spec.for_guest(config, ident,
                                       bool(request['terminal']),
                                       self.vm.share, self.vm.live)
            container = Container(ident, request['bundle'], guest)
            container.first = guest_process.Process(
                ident, '', request, self.on_stopped)
        except BaseException:
            self._unmount(ident)
            raise
        self.containers[ident] = container
        return container

    def check_size(self, resources: dict[str, Any]) -> None:
        """:raises refusals.Refused: they are larger than the VM."""
        refusals.check_size(resources, self._record.memory_mib,
                            self._record.vcpus)

    def remove(self, container: Container) -> None:
        """Remove a container; the guest cleans up in the background."""
        del self.containers[container.id]
        self._unmount(container.id)
        if container.guest is not None and container.first.ident:
            task = asyncio.create_task(self._remove_in_guest(container.id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _unmount(self, ident: str) -> None:
        for share in (self.vm.share, self.vm.live):
            share.remove_container(ident)

    async def _remove_in_guest(self, ident: str) -> None:
        try:
            await self.agent.call('delete', container=ident)
        except agent_channel.AgentError as e:
            log.debug(f'the guest did not delete container {ident}: {e}')

    def on_stopped(self, stopped: guest_process.Process) -> None:
        if stopped.oom:
            self._on_oom(stopped.container)
        log.debug(f'{stopped.container} {stopped.exec_id} exited with '
                  f'status {stopped.exit_status}')
        self.publisher.publish(
            '/tasks/exit', container_id=stopped.container,
            id=stopped.exec_id or stopped.container, pid=self._record.qemu,
            **stopped.ended())


def _plain_root(config: dict[str, Any],
                request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a bind mount for a root that is a folder (ctr run --rootfs)."""
    path = os.path.join(request['bundle'], config['root']['path'])
    return [{'type': '', 'source': path, 'options': ['rbind']}]
