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

"""Set-up of the guest: file systems, modules, devices, clock, network."""

import fcntl
import os
import resource
import socket
import struct
import time
from typing import Any

from kata_openstack.runtime.embedded.common import netlink
from kata_openstack.runtime.embedded.common import syscalls

PORT_NAME = 'agent'
# The pod's virtiofs, and that of the files which the host changes too
SHARE, LIVE = '/share', '/live'
POD_SHM = '/run/shm'  # one /dev/shm for all containers of the pod
MODULES = '/modules'
_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207
# Open files of a process: the largest limit that Linux allows by default, and
# what container engines give to containers
_OPEN_FILES = 1 << 20
_NO_LIMIT = (1 << 63) - 1
CGROUPS = '/sys/fs/cgroup'
CONTAINERS = '/containers'  # the cgroup of them all
# Memory that is free at first and that containers never get: for NICs and
# shares, growth of the agent, and a crun that starts
_RESERVED_KIB = 10 * 1024
_CONTROLLERS = '+cpu +memory +pids +io +cpuset'
# For file systems that hold no programs and no device nodes
_DATA_ONLY = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


def bring_up() -> None:
    """Turn the bare initramfs into a system in which crun works."""
    _leave_initramfs()
    for source, target, flags, data in (
            ('proc', '/proc', _DATA_ONLY, ''),
            ('sysfs', '/sys', _DATA_ONLY, ''),
            ('devtmpfs', '/dev', syscalls.MS_NOSUID, 'mode=755'),
            ('devpts', '/dev/pts', syscalls.MS_NOSUID | syscalls.MS_NOEXEC,
             'gid=5,mode=620,ptmxmode=666'),
            ('tmpfs', '/run', syscalls.MS_NOSUID | syscalls.MS_NODEV,
             'mode=755'),
            ('tmpfs', POD_SHM, _DATA_ONLY, 'mode=1777'),
            ('cgroup2', CGROUPS, _DATA_ONLY, '')):
        os.makedirs(target, exist_ok=True)
        syscalls.mount(source, target, source, flags, data)
    _redirect_output()
    write(f'{CGROUPS}/cgroup.subtree_control', _CONTROLLERS)
    _raise_limits()
    if 'nokaslr' in read('/proc/cmdline').split():
        fix_addresses()
    os.environ.clear()
    os.environ.update(PATH='/usr/sbin:/usr/bin:/sbin:/bin',
                      XDG_RUNTIME_DIR='/run', HOME='/')
    with open(f'{MODULES}/order') as names:
        for name in names.read().split():
            with open(f'{MODULES}/{name}', 'rb') as module:
                syscalls.load_module(module.fileno())
            os.unlink(f'{MODULES}/{name}')  # its file takes memory
    with netlink.Netlink() as net:
        for link in net.links():
            if link['flags'] & netlink.IFF_LOOPBACK:
                net.set_link(link['index'], up=True)
    _take_addresses_only_from_host()
    limit_containers()


def limit_containers() -> None:
    """Make the cgroup of all containers, and keep some memory from it.

    Without a limit, containers can take all memory of the VM, also with files
    on a tmpfs, which no killed process gives back. Then the agent could start
    nothing any more, and the kernel panics if it finds no process to kill.

    What the agent and the kernel use already is not free now, so it needs no
    reserve. Of what is free, the kernel keeps some for itself, which
    MemAvailable does not count: up to 66 MiB in large VMs (see
    set_recommended_min_free_kbytes() in mm/khugepaged.c of Linux).
    """
    folder = f'{CGROUPS}{CONTAINERS}'
    os.makedirs(folder, exist_ok=True)
    write(f'{folder}/cgroup.subtree_control', _CONTROLLERS)
    free = min(int(line.split()[1])
               for line in read('/proc/meminfo').splitlines()
               if line.startswith(('MemFree:', 'MemAvailable:')))
    write(f'{folder}/memory.max', str((free - _RESERVED_KIB) * 1024))


def _take_addresses_only_from_host() -> None:
    """Have future NICs ignore routers and assume that addresses are theirs.

    The pod's namespace has its addresses and routes. Addresses that the
    kernel makes from router advertisements would be filtered, and a search
    for duplicates delays each address by a second.
    """
    defaults = '/proc/sys/net/ipv6/conf/default'
    if os.path.isdir(defaults):  # else the kernel has no IPv6
        for setting in ('accept_ra', 'accept_dad'):
            write(f'{defaults}/{setting}', '0')


def fix_addresses() -> None:
    """Switch off address randomisation for the programs of the agent.

    An emulated VM has no randomisation of kernel addresses either. QEMU
    translates a program anew for other addresses, so crun would be slow. The
    containers' own programs have randomised addresses, see spec.for_guest.
    """
    syscalls.fix_addresses()


def _raise_limits() -> None:
    """Raise the limits that containers inherit, or that all of them share.

    The kernel limits a first process to 1024 open files, 4096 at most, and
    all processes together to a number that small VMs reach soon. Memory is
    limited in any case: each open file counts as memory of its container.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    write('/proc/sys/fs/file-max', str(_NO_LIMIT))


def _leave_initramfs() -> None:
    """Make / a separate mount: pivot_root refuses the initramfs."""
    os.makedirs('/newroot', exist_ok=True)
    syscalls.mount('/', '/newroot', flags=syscalls.MS_BIND)
    os.chdir('/newroot')
    syscalls.mount('.', '/', flags=syscalls.MS_MOVE)
    os.chroot('.')
    os.chdir('/')


def _redirect_output() -> None:
    """Open fds 0-2, which the kernel leaves closed without a console.

    Output goes to the kernel's log.
    """
    null = os.open('/dev/null', os.O_RDWR)
    log = os.open('/dev/kmsg', os.O_WRONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for fd in (null, log):
        if fd > 2:
            os.close(fd)


def open_port() -> int:
    """Open the virtio-serial port to the shim, non-blocking."""
    ports = '/sys/class/virtio-ports'
    while True:
        for device in os.listdir(ports) if os.path.isdir(ports) else ():
            if read(f'{ports}/{device}/name').strip() == PORT_NAME:
                return os.open(f'/dev/{device}',
                               os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        time.sleep(0.002)


def wake(now: float, entropy: bytes) -> None:
    """Set the clock and reseed the random pool after a restore.

    Both still have the template's state.

    :param now: seconds since the Unix epoch.
    """
    time.clock_settime(time.CLOCK_REALTIME, now)
    with open('/dev/urandom', 'wb', buffering=0) as device:
        fcntl.ioctl(device, _RNDADDENTROPY, struct.pack(
            f'ii{len(entropy)}s', len(entropy) * 8, len(entropy), entropy))
        fcntl.ioctl(device, _RNDRESEEDCRNG)


def set_clock(forward: float, rate: int) -> None:
    """Correct the clock.

    :param forward: seconds by which to set it forward.
    :param rate: ppm by which it must run faster than its counter.
    """
    if forward > 0:
        time.clock_settime(time.CLOCK_REALTIME, time.time() + forward)
    syscalls.set_clock_rate(rate)


def find_devices() -> None:
    """Rescan the PCI bus: the template had no NICs and no share."""
    write('/sys/bus/pci/rescan', '1')


def tag(path: str) -> str:
    """Return the name of the virtiofs device of a share."""
    return path.strip('/')


def mount_share(path: str) -> None:
    """Mount a share, SHARE or LIVE. Idempotent."""
    os.makedirs(path, exist_ok=True)
    if not os.path.ismount(path):
        syscalls.mount(tag(path), path, 'virtiofs')


def set_hostname(name: str) -> None:
    socket.sethostname(name)


def set_sysctls(values: dict[str, str]) -> None:
    """Set the sysctls of the pod, which owns the whole kernel.

    :raises OSError: the text names the sysctl and its value.
    """
    for name, value in values.items():
        # as in sysctl(8): the first separator is the one that separates
        dot, slash = name.find('.'), name.find('/')
        if slash < 0 or 0 <= dot < slash:
            name = name.translate({ord('.'): '/', ord('/'): '.'})
        try:
            write(f'/proc/sys/{name}', value)
        except OSError as e:
            raise OSError(f'cannot set the sysctl {name} to {value!r}: '
                          f'{e.strerror}') from e


def set_up_network(interfaces: list[dict[str, Any]]) -> None:
    """Configure each NIC, found by its MAC, as in the pod's namespace.

    :param interfaces: name, mac, mtu, addresses (address, prefixlen) and
        routes (destination, gateway, metric, onlink) of each.
    """
    with netlink.Netlink() as net:
        by_mac = {link['mac']: link for link in net.links()}
        for wanted in interfaces:
            index = by_mac[wanted['mac']]['index']
            net.set_link(index, name=wanted['name'])
            net.set_link(index, mtu=wanted['mtu'])
            net.set_link(index, up=True)
            for item in wanted['addresses']:
                net.add_address(index, item['address'], item['prefixlen'])
            for route in sorted(wanted['routes'],
                                key=lambda r: bool(r['gateway'])):
                net.add_route(index, route['destination'], route['gateway'],
                              route['metric'], route['onlink'])


def drop_caches() -> None:
    """Drop cached inodes, so that virtiofsd closes their files.

    Meanwhile, programs of the containers must not open as many again.
    """
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        write('/proc/sys/vm/drop_caches', '2')
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def write(path: str, text: str) -> None:
    with open(path, 'w') as file:
        file.write(text)


def remove(folder: str) -> None:
    """Remove a folder that holds only files, if it exists."""
    try:
        for entry in os.scandir(folder):
            os.unlink(entry.path)
        os.rmdir(folder)
    except FileNotFoundError:
        pass
