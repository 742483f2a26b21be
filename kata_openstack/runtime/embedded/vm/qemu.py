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

"""QEMU's command line.

A template and its VMs must have the same devices, except for the shares and
the NICs, which only a VM has. The NICs use PCI slots of the root bus that
are empty in the template. QEMU refuses to restore a VM with a share, so the
share is plugged into a root port before the VM runs, and the live share into
another one when a container needs it. The agent finds all of them by a bus
rescan, without waiting for hot-plug events.

With ``-accel tcg,tb-size=64`` an emulated VM needs a quarter of the memory
that it needs with the default, at the same speed.
"""

import dataclasses
from typing import Any
from typing import Final

from kata_openstack.runtime.embedded.agent import system
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.vm import jail
from kata_openstack.runtime.embedded.vm import size as sizes

_MACHINE = ('q35,hpet=off,smm=off,vmport=off,i8042=off,sata=off,smbus=off,'
            'usb=off,graphics=off,memory-backend=ram,dump-guest-core=off,'
            'mem-merge=off')
_SANDBOX = ('on,obsolete=deny,elevateprivileges=deny,spawn=deny,'
            'resourcecontrol=deny')
# Nobody waits for hot-plug events. Without the firmware's methods for them,
# and without a switch for the power of the port, a rescan takes less time.
_NO_EVENTS = ['-global', 'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off',
              '-global', 'pcie-root-port.power_controller_present=off']
_KERNEL = ('panic=-1 quiet cryptomgr.notests random.trust_cpu=on '
           'no_timer_check tsc=reliable pcie_ports=compat')
# Before Linux 6.6, tracefs keeps an inode and a name for each of its 10,000
# files in memory: 9 MiB of each VM. Upstream's guest kernel has no tracefs.
_KERNEL += ' initcall_blacklist=tracer_init_tracefs'
# AppArmor and TOMOYO have no policy in the guest, but look at each file that
# a program opens. Landlock is for programs that restrict themselves.
_KERNEL += ' lsm=landlock,yama'
# These switch off protections of the guest against itself; they do not
# protect the host. On a shared KVM host the protections are worth their
# time, so they stay on. Under emulation they cost too much.
_KERNEL_EMULATED = ' mitigations=off nokaslr'
# QEMU's emulator keeps the code that it translated for a page until the
# guest writes to the page. QEMU does not see what virtiofsd writes there
# (vhost_section() in QEMU's hw/virtio/vhost.c says so). Then a program that
# virtiofsd puts into a reused page runs as the code that was there before.
# With this option the guest itself overwrites each page that it allocates.
_KERNEL_EMULATED += ' init_on_alloc=1'
# Without erms and fsrm, Linux clears and copies by steps of 8 bytes, with
# them by steps of one. QEMU emulates each step.
_CPU_EMULATED = 'max,-erms,-fsrm'
_SERIAL_SLOT, _BALLOON_SLOT, _PORT_SLOT, _LIVE_PORT_SLOT = 3, 4, 5, 6
_NIC_SLOT = 8  # and the next ones
MAX_NICS: Final = 16


@dataclasses.dataclass(frozen=True)
class Nic:
    """``tap``: an fd of a tap opened with IFF_VNET_HDR."""

    tap: int
    mac: str


def devices(accelerator: str) -> list[str]:
    return ['/dev/kvm'] if accelerator == 'kvm' else []


def base(program: str, config: settings.Settings, size: sizes.Size,
         agent: int, monitor: int) -> list[str]:
    """Return the arguments that a template and its VMs have in common.

    :param agent, monitor: fds of connected sockets.
    """
    accelerator, model = 'kvm', 'host'
    if config.accelerator != 'kvm':
        accelerator, model = 'tcg,tb-size=64', _CPU_EMULATED
    model += ''.join(f',{name}=off' for name in config.hidden_cpu_features)
    processor = ['-accel', accelerator, '-cpu', model]
    return [
        program, '-nodefaults', '-no-user-config', '-nographic',
        '-no-reboot', '-display', 'none', '-sandbox', _SANDBOX,
        '-machine', _MACHINE, *_NO_EVENTS, *processor,
        '-m', f'{size.memory_mib}M', '-smp', str(size.vcpus),
        '-object', f'memory-backend-file,id=ram,size={size.memory_mib}M,'
                   f'mem-path={jail.RAM},share=on',
        '-chardev', f'socket,id=agent,fd={agent}',
        '-device', f'virtio-serial-pci,id=serial,addr={_SERIAL_SLOT:#x}',
        '-device', f'virtserialport,chardev=agent,name={system.PORT_NAME}',
        '-device', f'virtio-balloon-pci,id=balloon,addr={_BALLOON_SLOT:#x},'
                   'free-page-reporting=on',
        '-device', 'pcie-root-port,id=shareport,chassis=1,slot=1,'
                   f'addr={_PORT_SLOT:#x}',
        '-device', 'pcie-root-port,id=liveport,chassis=2,slot=2,'
                   f'addr={_LIVE_PORT_SLOT:#x}',
        '-chardev', f'socket,id=monitor,fd={monitor}',
        '-mon', 'chardev=monitor,mode=control']


def boot(accelerator: str, kernel: str, initrd: str) -> list[str]:
    """Return the arguments that boot a template.

    :param kernel, initrd: paths in QEMU's jail.
    """
    command = _KERNEL
    if accelerator != 'kvm':
        command += _KERNEL_EMULATED
    return ['-kernel', kernel, '-initrd', initrd, '-append', command]


def share_device() -> dict[str, Any]:
    """Return the arguments of the monitor's device_add for the share."""
    return _virtiofs('share', system.SHARE, 'shareport')


def live_device(chardev: str) -> dict[str, Any]:
    """Return the same for the live share.

    :param chardev: the ID of a socket connected to its virtiofsd.
    """
    return _virtiofs(chardev, system.LIVE, 'liveport')


def _virtiofs(chardev: str, path: str, port: str) -> dict[str, Any]:
    return {'driver': 'vhost-user-fs-pci', 'chardev': chardev,
            'tag': system.tag(path), 'queue-size': 1024, 'bus': port}


def restore(share: int, nics: list[Nic]) -> list[str]:
    """Return the arguments of a VM that waits for its template's state.

    :param share: fd of a socket connected to virtiofsd.
    """
    argv = ['-incoming', 'defer',
            '-chardev', f'socket,id=share,fd={share}']
    for number, nic in enumerate(nics):
        argv += ['-netdev', f'tap,id=net{number},fd={nic.tap}',
                 '-device', f'virtio-net-pci,netdev=net{number},'
                            f'mac={nic.mac},romfile=,'
                            f'addr={_NIC_SLOT + number:#x}']
    return argv
