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

"""Restore a launched VM, so that its guest waits for containers."""

import asyncio
import base64
from collections.abc import Callable
import os
import time
from typing import Any

from kata_openstack.runtime.embedded.vm import agent_channel
from kata_openstack.runtime.embedded.vm import machine
from kata_openstack.runtime.embedded.vm import qemu
from kata_openstack.runtime.embedded.vm import qmp

_ENTROPY = 64  # bytes
_WAKE_SECONDS = 120  # takes 0.5 s, but far more on an overloaded node


async def restore(vm: machine.Machine, pod: dict[str, Any],
                  agent: agent_channel.Channel, monitor: qmp.Qmp,
                  step: Callable[[str], None]) -> str:
    """Load the template's state, wake the guest; return its kernel release.

    :param pod: the pod's own ``hostname`` and ``sysctls`` (name: value).
    :param step: called with each finished step, for the log.
    :raises OSError, qmp.QmpError, agent_channel.AgentError:
    """
    await monitor.open()
    step('QEMU is set up')
    await monitor.execute('migrate-set-capabilities', capabilities=[
        {'capability': 'x-ignore-shared', 'state': True}])
    vm.wait_for_ram()
    step('RAM is copied')
    await monitor.execute('migrate-incoming',
                          uri=await monitor.pass_file(vm.state_fd))
    os.close(vm.state_fd)
    while (await monitor.execute('query-status'))['status'] == 'inmigrate':
        await asyncio.sleep(0.002)
    await monitor.execute('device_add', **qemu.share_device())
    await monitor.execute('cont')
    step('the VM runs')
    answer = await agent.call(
        'wake', seconds=_WAKE_SECONDS, now=time.time(), **pod,
        entropy=base64.b64encode(os.urandom(_ENTROPY)).decode(),
        interfaces=vm.network.interfaces)
    step('the guest is ready')
    return agent_channel.printable(str(answer.get('kernel')))
