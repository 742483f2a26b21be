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

"""A sandbox's VM: launch its processes and end them.

:meth:`Machine.launch` needs no event loop and runs first, so that QEMU and
virtiofsd start while the shim imports asyncio and while containerd prepares
its next call. :mod:`kata_openstack.runtime.embedded.vm.restore` does the
rest.
"""

import os
import signal
import socket
import threading

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.vm import jail
from kata_openstack.runtime.embedded.vm import launch
from kata_openstack.runtime.embedded.vm import net
from kata_openstack.runtime.embedded.vm import qemu
from kata_openstack.runtime.embedded.vm import ram
from kata_openstack.runtime.embedded.vm import share
from kata_openstack.runtime.embedded.vm import size as sizes
from kata_openstack.runtime.embedded.vm.templates import template


class Machine:
    """One VM. ``agent`` and ``monitor`` are sockets to it, once launched.

    :param folder: the sandbox's folder, for logs and mount points.
    """

    def __init__(self, config: settings.Settings, name: str, folder: str,
                 size: sizes.Size, uid: int) -> None:
        self.config = config
        self.size = size
        self.uid = uid
        self.network = net.Network()
        self.share = share.Share(folder)
        self.live = share.Share(folder, live=True)
        self.qemu_pid = 0
        self.virtiofsd_pid = 0
        self.live_pid = 0  # of the virtiofsd of the live share
        self.live_log = f'{folder}/virtiofsd-live.log'
        self.ram_path = f'{config.memory_path}/vm-{name}'
        self._folder = folder
        self._copied: threading.Thread | None = None
        self._problem: OSError | None = None  # of copying the RAM

    def launch(self, namespace: str, origin: template.Files) -> None:
        """Start the processes, and copy the RAM in the background.

        :param namespace: path of the pod's network namespace, or ''.
        :param origin: the files of the template, which this closes.
        :raises OSError, launch.LaunchFailed:
        """
        if namespace:
            self.network = net.attach(namespace)
        self.share.create()
        self.virtiofsd_pid, virtiofs = self._serve(
            self.share, f'{self._folder}/virtiofsd.log')
        target = ram.create(self.ram_path, self.size.memory_mib * sizes.MIB,
                            self.uid)
        self.state_fd = origin.state
        with virtiofs:
            self.qemu_pid, self.agent, self.monitor = start_qemu(
                self.config, self.size, self.uid, self._folder,
                {jail.RAM: self.ram_path},
                qemu.restore(virtiofs.fileno(), self.network.nics),
                [virtiofs.fileno(), *(nic.tap for nic in self.network.nics)])
        self.network.close()
        self._copied = threading.Thread(
            target=self._copy, args=(origin.ram, target), daemon=True)
        self._copied.start()

    def _serve(self, folder: share.Share, log: str
               ) -> tuple[int, socket.socket]:
        return folder.serve(
            [self.config.virtiofsd, *self.config.virtiofsd_options], log)

    def serve_live(self) -> socket.socket:
        """Start the virtiofsd of the live share, and connect to it.

        :raises OSError, launch.LaunchFailed:
        """
        self.live_pid, connection = self._serve(self.live, self.live_log)
        return connection

    def end_live(self) -> None:
        """Kill the virtiofsd of the live share and wait for it."""
        pid, self.live_pid = self.live_pid, 0
        if pid:
            end_process(pid)

    def wait_for_ram(self) -> None:
        """Wait for the copy of the RAM, then unlink its file.

        QEMU has the file open, so the memory is freed when QEMU ends.

        :raises OSError: the copy failed, mostly because the tmpfs is full.
        """
        if self._copied:
            self._copied.join()
            self._copied = None
        remove_file(self.ram_path)
        if self._problem:
            raise OSError(
                self._problem.errno, 'could not copy the memory of the VM '
                f'({self._problem.strerror}): enlarge [kata] pod_memory_mib',
                self.config.memory_path)

    def _copy(self, source: int, target: int) -> None:
        try:
            ram.copy(source, target)
        except OSError as e:
            self._problem = e
        finally:
            os.close(source)
            os.close(target)

    def kill(self) -> None:
        """Kill QEMU and each virtiofsd; wait for them. Idempotent."""
        for name in ('qemu_pid', 'virtiofsd_pid'):
            pid = getattr(self, name)
            setattr(self, name, 0)
            if pid:
                end_process(pid)
        self.end_live()
        if self._copied:
            self._copied.join()
        remove_file(self.ram_path)


def start_qemu(config: settings.Settings, size: sizes.Size, uid: int,
               folder: str, files: dict[str, str], more: list[str],
               fds: list[int]) -> tuple[int, socket.socket, socket.socket]:
    """Start QEMU in its jail.

    :param files: files for the jail, see jail.enter.
    :param more: arguments after the basic ones.
    :param fds: open files to which ``more`` refers.
    :returns: QEMU's pid, the agent's socket, the monitor's socket.
    """
    agent, agent_inside = socket.socketpair()
    monitor, monitor_inside = socket.socketpair()
    root = f'{folder}/root'
    os.makedirs(root, exist_ok=True)

    def confine() -> None:
        if config.accelerator != 'kvm':
            # QEMU asks for them for the code that it translates, and fills
            # few of them completely. Emulation is no faster with them.
            syscalls.no_huge_pages()
        jail.enter(root, uid, config.qemu, files,
                   qemu.devices(config.accelerator))
    with agent_inside, monitor_inside:
        argv = qemu.base(config.qemu, config, size,
                         agent_inside.fileno(), monitor_inside.fileno())
        pid = launch.spawn(
            argv + more,
            fds=[agent_inside.fileno(), monitor_inside.fileno(), *fds],
            log=f'{folder}/qemu.log',
            confine=confine)
    return pid, agent, monitor


def end_process(pid: int) -> None:
    """Kill a child and reap it."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
