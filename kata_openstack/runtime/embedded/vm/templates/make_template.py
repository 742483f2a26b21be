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

"""Boot a VM without share and NICs, and save it as a template."""

import asyncio
import contextlib
import os
import shutil
import tempfile

from kata_openstack.runtime.embedded.vm import agent_channel
from kata_openstack.runtime.embedded.vm import jail
from kata_openstack.runtime.embedded.vm import launch
from kata_openstack.runtime.embedded.vm import machine
from kata_openstack.runtime.embedded.vm import qemu
from kata_openstack.runtime.embedded.vm import qmp
from kata_openstack.runtime.embedded.vm import ram
from kata_openstack.runtime.embedded.vm import size as sizes
from kata_openstack.runtime.embedded.vm.templates import template
from kata_openstack.runtime.embedded.vm import users
from kata_openstack.runtime.embedded.vm import vm_memory

LOCK = 'template.lock'  # held while one is made
_BOOT_SECONDS = 300  # enough for nested KVM on a busy node
# The guest reports memory 2 s after it became free (PAGE_REPORTING_DELAY in
# the kernel's mm/page_reporting.c). QEMU then returns it to the host.
_REPORTING_SECONDS = 2.5
_BOOTED_MIB = 160
_KERNEL, _INITRD = '/kernel', '/initrd'


def ensure(wanted: template.Template) -> template.Files:
    """Make the template unless it exists; return its open files.

    One process makes it, others wait. Takes some seconds, and needs a
    thread without an event loop.

    :raises template.NotMade: QEMU or the guest failed.
    :raises vm_memory.NoMemory: the memory for VMs is reserved.
    :raises OSError:
    """
    config = wanted.config
    with vm_memory.lock(config, LOCK):
        found = wanted.open()
        if found:
            return found
        template.remove_unused(config)
        return _make_within_budget(wanted)


def renew(old: template.Template) -> None:
    """Make a template again, in the place of one that starts may use.

    :raises template.NotMade, vm_memory.NoMemory, OSError: the old one stays.
    """
    with vm_memory.lock(old.config, LOCK):
        _make_within_budget(old).close()


def _make_within_budget(wanted: template.Template) -> template.Files:
    config = wanted.config
    vm_memory.reserve(config, vm_memory.TEMPLATE, _needed_mib(wanted.size))
    try:
        _boot_and_save(wanted)
        found = wanted.open()  # a small budget may have no place for it
        template.remove_unused(config)
    finally:
        vm_memory.release(config, vm_memory.TEMPLATE)
    assert found
    return found


def _needed_mib(size: sizes.Size) -> int:
    """Return what a VM uses while it boots; measured: 140 MiB of 256."""
    return _BOOTED_MIB + size.memory_mib // 50


def _boot_and_save(wanted: template.Template) -> None:
    """Make a template.

    :raises template.NotMade: with the cause and QEMU's last output.
    """
    config = wanted.config
    partial = wanted.folder + template.PARTIAL
    os.mkdir(partial, 0o700)
    try:
        with tempfile.TemporaryDirectory(dir=config.run_path) as folder:
            log = f'{folder}/qemu.log'
            try:
                asyncio.run(_make(wanted, partial, folder))
            except (OSError, TimeoutError, launch.LaunchFailed,
                    qmp.QmpError, agent_channel.AgentError) as e:
                words = agent_channel.last_words(log)
                raise template.NotMade(
                    f'{e or type(e).__name__} {words}'.strip()) from e
        former = wanted.folder + template.FORMER
        with contextlib.suppress(FileNotFoundError):
            os.rename(wanted.folder, former)
        os.rename(partial, wanted.folder)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


async def _make(wanted: template.Template, target: str,
                folder: str) -> None:
    """Boot the VM, and save it in the folder ``target``."""
    config, size = wanted.config, wanted.size
    uid = users.template_uid(config)
    ram_path = f'{target}/ram'
    os.close(ram.create(ram_path, size.memory_mib * sizes.MIB, uid))
    pid, agent_socket, monitor_socket = machine.start_qemu(
        config, size, uid, folder,
        {jail.RAM: ram_path, _KERNEL: config.kernel,
         _INITRD: config.initrd},
        qemu.boot(config.accelerator, _KERNEL, _INITRD), [])
    agent = agent_channel.Channel(agent_socket, lambda reason: None,
                            lambda container: None)
    monitor = qmp.Qmp(monitor_socket)
    try:
        await monitor.open()
        async with asyncio.timeout(_BOOT_SECONDS):
            await agent.ready
        await agent.call('ping')
        await asyncio.sleep(_REPORTING_SECONDS)
        await _save(monitor, f'{target}/state')
    finally:
        machine.end_process(pid)
        agent.close('')
        monitor.close()
    ram.drop_zeros(ram_path)
    os.chown(ram_path, 0, 0)
    os.chmod(ram_path, 0o400)


async def _save(monitor: qmp.Qmp, path: str) -> None:
    """Save the state of the devices. The RAM file already has the RAM."""
    await monitor.execute('stop')
    await monitor.execute('migrate-set-capabilities', capabilities=[
        {'capability': 'x-ignore-shared', 'state': True}])
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
                 0o600)
    try:
        await monitor.execute('migrate', uri=await monitor.pass_file(fd))
        while True:
            answer = await monitor.execute('query-migrate')
            if answer.get('status') == 'completed':
                break
            if answer.get('status') in ('failed', 'cancelled'):
                raise qmp.QmpError('QEMU could not save the VM: '
                                   f'{answer.get("error-desc")}')
            await asyncio.sleep(0.01)
    finally:
        os.close(fd)
