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

"""Checks that the machine meets the requirements, with a remedy for each.

Runs before anything is installed, so it uses the standard library only.
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

# linux/if_tun.h
TUNSETIFF = 0x400454ca
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000

# capability number: name, of linux/capability.h
CAPABILITIES = {12: 'CAP_NET_ADMIN', 13: 'CAP_NET_RAW', 21: 'CAP_SYS_ADMIN'}


def _tun() -> str | None:
    try:
        os.close(os.open('/dev/net/tun', os.O_RDWR))
    except FileNotFoundError:
        return ('/dev/net/tun is missing. Load the module with "modprobe '
                'tun", then run "mkdir -p /dev/net && mknod /dev/net/tun c '
                '10 200". In a container, pass the device to it.')
    except OSError as e:
        return (f'Cannot open /dev/net/tun ({e.strerror}). Load the module '
                'tun on the host, or allow this container to use the device.')
    return None


def _capabilities() -> str | None:
    status = pathlib.Path('/proc/self/status').read_text()
    effective = int(status.partition('CapEff:')[2].split()[0], 16)
    missing = [name for number, name in CAPABILITIES.items()
               if not effective >> number & 1]
    if missing:
        return (f'root lacks {", ".join(missing)}. Run this outside '
                'containers, or in a privileged container.')
    return None


def _disk(stack: settings.Stack) -> str | None:
    free = shutil.disk_usage(stack.state).free / 2**30
    if free < DISK_GIB:
        return (f'{stack.state} has {free:.1f} GiB of free disk space, but '
                f'{DISK_GIB} GiB are needed. Free some space, or choose a '
                'folder on another file system with --state-dir.')
    return None


def _memory(stack: settings.Stack) -> str | None:
    text = pathlib.Path('/proc/meminfo').read_text()
    free = int(text.partition('MemAvailable:')[2].split()[0]) // 1024
    if free < MEMORY_MIB and not process.find(stack, 'keystone'):
        return (f'{free} MiB of memory are available, but {MEMORY_MIB} MiB '
                'are needed. Stop other programs, or use a larger machine.')
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
        return [f'Ports on 127.0.0.1 are in use: {", ".join(taken)}. '
                'Choose another range of ports with --port-base N.']
    return []


def _userspace_switch(stack: settings.Stack) -> str | None:
    """Check that no other userspace datapath runs in this namespace.

    Its interface has a fixed name, ovs-netdev. Attaching fails if another
    switch uses the interface, and works if a crash left it behind.
    """
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
                'this network namespace (interface ovs-netdev), and only '
                'one can. Stop it, or run this in another namespace: '
                'unshare --net tools/quickstart.sh ...')
    return None


def check(stack: settings.Stack) -> None:
    """Check the machine.

    :raises QuickstartError: which lists all problems with their remedies.
    """
    problems = [problem for problem in (
        _tun(), _capabilities(), _disk(stack), _memory(stack),
        _userspace_switch(stack)) if problem]
    problems += _ports(stack)
    if problems:
        raise settings.QuickstartError(
            'This machine does not meet the requirements:\n'
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
