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

"""Checks what the machine must have, and says how to get what it lacks.

Runs before anything is installed: only the standard library is used.
"""

import argparse
import errno
import fcntl
import os
import pathlib
import shutil
import socket
import struct
import sys

from tools.quickstart import process
from tools.quickstart import services
from tools.quickstart import settings

DISK_GIB = 4
MEMORY_MIB = 4096
SHARED_MEMORY_MIB = 512

# linux/if_tun.h
TUNSETIFF = 0x400454ca
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000

# capability number: name, of linux/capability.h
CAPABILITIES = {12: 'CAP_NET_ADMIN', 13: 'CAP_NET_RAW', 21: 'CAP_SYS_ADMIN'}


def _tun() -> str | None:
    try:
        os.close(os.open('/dev/net/tun', os.O_RDWR))
    except FileNotFoundError:
        return ('/dev/net/tun is missing: mkdir -p /dev/net && mknod '
                '/dev/net/tun c 10 200, after "modprobe tun" if that has '
                'not been done; in a container, give it the device.')
    except OSError as e:
        return (f'/dev/net/tun cannot be opened ({e.strerror}): load the '
                'module tun on the host, or allow the device to this '
                'container.')
    return None


def _capabilities() -> str | None:
    status = pathlib.Path('/proc/self/status').read_text()
    effective = int(status.partition('CapEff:')[2].split()[0], 16)
    missing = [name for number, name in CAPABILITIES.items()
               if not effective >> number & 1]
    if missing:
        return (f'root lacks {", ".join(missing)}: run it outside of a '
                'container, or in a privileged one.')
    return None


def _disk(stack: settings.Stack) -> str | None:
    free = shutil.disk_usage(stack.state).free / 2**30
    if free < DISK_GIB:
        return (f'{stack.state} has {free:.1f} GiB free, {DISK_GIB} are '
                'needed: free some, or use --state-dir elsewhere.')
    return None


def _memory(stack: settings.Stack) -> str | None:
    text = pathlib.Path('/proc/meminfo').read_text()
    free = int(text.partition('MemAvailable:')[2].split()[0]) // 1024
    if free < MEMORY_MIB and not process.find(stack, 'keystone'):
        return (f'{free} MiB of memory are available, {MEMORY_MIB} are '
                'needed: stop other programs, or use a larger machine.')
    return None


def _shared_memory() -> str | None:
    folder = '/dev/shm'  # noqa: S108 - guests' memory is made there
    if not os.path.isdir(folder):
        return f'{folder} is missing: mount -t tmpfs tmpfs {folder}.'
    size = shutil.disk_usage(folder).total / 2**20
    if size < SHARED_MEMORY_MIB:
        return (f'{folder} has {size:.0f} MiB, {SHARED_MEMORY_MIB} are '
                f'needed for guests: mount -o remount,size=2G {folder}, or '
                'docker run --shm-size=2g.')
    return None


def _ports(stack: settings.Stack) -> list[str]:
    owners = {service.port: service.name
              for service in services.all_services(stack) if service.port}
    taken = []
    for name in settings.PORTS:
        port = stack.port(name)
        owner = owners.get(port, {'rabbitmq_dist': 'rabbitmq',
                                  'cri_stream': 'containerd'}.get(name, ''))
        if process.find(stack, owner):
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                taken.append(str(port))
    if taken:
        return [f'Something else listens on 127.0.0.1:{", ".join(taken)}: '
                'give another range of ports with --port-base N.']
    return []


def _userspace_switch(stack: settings.Stack) -> str | None:
    """The userspace datapath has an interface of a fixed name; one that a
    crash left can be attached again, one that is in use can't."""
    if process.find(stack, 'vswitchd'):
        return None
    request = struct.pack('16sH22x', b'ovs-netdev', IFF_TAP | IFF_NO_PI)
    try:
        with open('/dev/net/tun', 'rb+', buffering=0) as tun:
            fcntl.ioctl(tun, TUNSETIFF, request)
    except OSError as e:
        if e.errno == errno.EBUSY:
            return (
                'Another Open vSwitch with a userspace datapath runs in '
                'this network namespace (interface ovs-netdev), and there '
                'can be only one. Stop it, or give this one a namespace: '
                'unshare --net tools/quickstart.sh ...')
    return None


def check(stack: settings.Stack) -> None:
    """:raises QuickstartError: that lists everything that is missing."""
    problems = [problem for problem in (
        _tun(), _capabilities(), _disk(stack), _memory(stack),
        _shared_memory(), _userspace_switch(stack)) if problem]
    problems += _ports(stack)
    if problems:
        raise settings.QuickstartError(
            'This machine is not ready:\n'
            + '\n'.join(f'  - {problem}' for problem in problems))


def main() -> int:
    parser = argparse.ArgumentParser(prog='quickstart.sh')
    parser.add_argument('--state-dir', type=pathlib.Path, required=True)
    parser.add_argument('--port-base', type=int)
    parser.add_argument('--path', action='store_true',
                        help='check only the path; make nothing')
    options = parser.parse_args()
    try:
        if options.path:
            settings.check_path(options.state_dir.resolve())
            return 0
        check(settings.open_stack(options.state_dir, options.port_base))
    except settings.QuickstartError as e:
        print(f'quickstart: {e}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
