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


"""A VM that ends by itself gives its reason to every caller.

The order of containerd's requests and of the signs of the VM's end differs
from run to run on a real node; here each order has a test.
"""

import asyncio
import json
import pathlib
import signal
import socket
import subprocess
import tempfile
import types
import unittest
from unittest import mock

from kata_openstack.runtime.embedded.shim import bootstrap
from kata_openstack.runtime.embedded.shim import log
from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.shim import service
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import ttrpc
from kata_openstack.runtime.embedded.vm import launch
from kata_openstack.runtime.embedded.vm import restore

_WORDS = 'load of migration failed'
_LINUX = {'namespaces': [{'type': kind} for kind in ('pid', 'ipc', 'mount')]}
_SPEC = {'process': {'args': ['true']}, 'root': {'path': 'rootfs'},
         'linux': _LINUX}
_SANDBOX = {'linux': _LINUX, 'annotations': {
    'io.kubernetes.cri.container-type': 'sandbox'}}


class Machine:
    """A VM whose processes and sockets the test ends one by one."""

    def __init__(self):
        self.agent, self.agent_end = socket.socketpair()
        self.monitor, self.monitor_end = socket.socketpair()
        self.processes = [
            subprocess.Popen(['sleep', '1000']) for _ in range(2)]
        self.qemu_pid, self.virtiofsd_pid = (
            found.pid for found in self.processes)
        self.share = mock.Mock(inside='/share')
        self.live = mock.Mock(inside='/live')
        self.live.has.return_value = False
        self.network = types.SimpleNamespace(interfaces=[])

    def kill(self):
        for found in self.processes:
            found.kill()
            found.wait()

    def close(self):
        self.kill()
        for found in (self.agent, self.agent_end, self.monitor,
                      self.monitor_end):
            found.close()


# Each is one sign of the end; on a real node any of them may come first.
SIGNS = {
    'QEMU has ended': lambda vm: vm.processes[0].send_signal(signal.SIGKILL),
    'virtiofsd has ended': lambda vm: vm.processes[1].send_signal(
        signal.SIGKILL),
    'the agent is gone': lambda vm: vm.agent_end.close(),
}
# Before the VM is restored QEMU's monitor may say so as well.
EARLY_SIGNS = {
    **SIGNS,
    'the monitor is gone': lambda vm: vm.monitor_end.close(),
    'the monitor refuses': lambda vm: vm.monitor_end.send(
        b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2}}}}\n'
        b'{"error": {"desc": "no such capability"}}\n'),
}


class TestEarlyDeath(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        patch = mock.patch.object(log, 'error')
        patch.start()
        self.addCleanup(patch.stop)

    def make(self, restored):
        """A sandbox in a new folder."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for name, config in (('pod', _SANDBOX), ('c', _SPEC)):
            (self.folder / name).mkdir()
            (self.folder / name / 'config.json').write_text(
                json.dumps(config))
        (self.folder / 'qemu.log').write_text(f'{_WORDS}\n')
        self.vm = Machine()
        self.addCleanup(self.vm.close)
        self.publisher = mock.Mock()
        if restored:
            patch = mock.patch.object(
                restore, 'restore', mock.AsyncMock(return_value='6.1'))
            patch.start()
            self.addCleanup(patch.stop)
        self.pod = sandbox.Sandbox(
            None,
            mock.Mock(folder=str(self.folder), qemu=4711, cpus=1.0,
                      memory_mib=256, vcpus=1), self.vm,
            {'hostname': 'name', 'sysctls': {}}, self.publisher)
        self.service = service.TaskService(self.pod)
        self.addAsyncCleanup(self.stop, self.pod)

    async def stop(self, pod):
        pod.stop_vm()
        await asyncio.wait([pod.ready])

    async def ask(self, method, ident='pod', **request):
        taken, given = messages.TASK_METHODS[method]
        if method == 'Create':
            request['bundle'] = str(self.folder / ident)
        return given.decode(await self.service.handle(
            messages.TASK_SERVICE, method,
            taken.encode({'id': ident, **request})))

    async def end(self, sign, signs):
        signs[sign](self.vm)
        async with asyncio.timeout(30):
            while not self.pod.lost:
                await asyncio.sleep(0.001)

    async def refused(self, request, event):
        """The request fails, with the reason."""
        async with asyncio.timeout(30):
            with self.assertRaises(ttrpc.RpcError) as caught:
                await request
        text = str(caught.exception)
        self.assertIn(f'the VM {event}: ', text)
        self.assertIn(_WORDS, text)

    async def each(self, signs, restored):
        """A new sandbox for each sign."""
        for sign in signs:
            self.make(restored)
            if restored:
                await self.pod.until_ready()
            yield sign

    async def test_the_output_of_the_programs_is_cut(self):
        cut = []
        with (mock.patch.object(sandbox, '_CUT_SECONDS', 0.001),
              mock.patch.object(log, 'cut', cut.append)):
            self.make(True)
            async with asyncio.timeout(30):
                while len(cut) < 4:
                    await asyncio.sleep(0.001)
        self.assertEqual({f'{self.folder}/qemu.log',
                          f'{self.folder}/virtiofsd.log'}, set(cut))

    async def test_before_the_sandbox_is_created(self):
        async for sign in self.each(EARLY_SIGNS, False):
            await self.end(sign, EARLY_SIGNS)
            await self.refused(self.ask('Create'), 'did not start')
            self.assertEqual({}, self.pod.containers)

    async def test_between_create_and_start_of_the_sandbox(self):
        async for sign in self.each(EARLY_SIGNS, False):
            await self.ask('Create')
            waiting = asyncio.create_task(self.ask('Wait'))
            await self.end(sign, EARLY_SIGNS)
            await self.refused(self.ask('Start'), 'did not start')
            self.assertEqual(137, (await waiting)['exit_status'])
            self.assertEqual(3, (await self.ask('State'))['status'])

    async def test_while_the_sandbox_starts(self):
        async for sign in self.each(EARLY_SIGNS, False):
            await self.ask('Create')
            starting = asyncio.create_task(self.ask('Start'))
            await asyncio.sleep(0)
            await self.end(sign, EARLY_SIGNS)
            await self.refused(starting, 'did not start')
            self.assertEqual(
                137, (await self.ask('Wait'))['exit_status'])

    async def test_all_signs_at_once(self):
        self.make(False)
        await self.ask('Create')
        starting = asyncio.create_task(self.ask('Start'))
        await asyncio.sleep(0)
        self.vm.kill()
        self.vm.agent_end.close()
        self.vm.monitor_end.close()
        await self.refused(starting, 'did not start')

    async def test_programs_that_do_not_answer(self):
        with mock.patch.object(sandbox, '_RESTORE_SECONDS', 0.05):
            self.make(False)
            await self.ask('Create')
            await self.refused(self.ask('Start'), 'did not start')
        self.assertIn('did not answer within 0.05 s', self.pod.lost)

    async def test_between_the_restore_and_the_answer_to_start(self):
        """The VM is ready, and ends before Start is told so."""
        self.make(True)
        self.pod.ready.add_done_callback(
            lambda task: self.pod.agent.close('QEMU has ended'))
        await self.ask('Create')
        await self.refused(self.ask('Start'), 'has ended')

    async def test_before_a_container_is_created(self):
        async for sign in self.each(SIGNS, True):
            await self.ask('Create')
            await self.ask('Start')
            await self.end(sign, SIGNS)
            await self.refused(self.ask('Create', 'c'), 'has ended')
            self.vm.share.add_rootfs.assert_not_called()

    async def test_between_create_and_start_of_a_container(self):
        async for sign in self.each(SIGNS, True):
            await self.ask('Create', 'c')
            waiting = asyncio.create_task(self.ask('Wait', 'c'))
            await self.end(sign, SIGNS)
            await self.refused(self.ask('Start', 'c'), 'has ended')
            self.assertEqual(137, (await waiting)['exit_status'])

    async def test_while_a_container_starts(self):
        async for sign in self.each(SIGNS, True):
            await self.ask('Create', 'c')
            starting = asyncio.create_task(self.ask('Start', 'c'))
            async with asyncio.timeout(30):
                while not self.pod.containers['c'].first.starting:
                    await asyncio.sleep(0)
            await self.end(sign, SIGNS)
            await self.refused(starting, 'has ended')

    async def running(self):
        """Create a container and let the guest start it."""
        await self.ask('Create', 'c')
        with mock.patch.object(self.pod.agent, 'call', mock.AsyncMock()):
            await self.ask('Start', 'c')

    async def test_before_an_exec(self):
        async for sign in self.each(SIGNS, True):
            await self.running()
            await self.end(sign, SIGNS)
            for method in ('Exec', 'Pause', 'Stats'):
                await self.refused(
                    self.ask(method, 'c', **(
                        {'exec_id': 'e'} if method == 'Exec' else {})),
                    'has ended')

    async def test_between_exec_and_its_start(self):
        async for sign in self.each(SIGNS, True):
            await self.running()
            await self.ask('Exec', 'c', exec_id='e', spec={
                'type_url': '', 'value': b'{}'})
            waiting = asyncio.create_task(self.ask('Wait', 'c', exec_id='e'))
            await self.end(sign, SIGNS)
            await self.refused(self.ask('Start', 'c', exec_id='e'),
                               'has ended')
            async with asyncio.timeout(30):
                self.assertEqual(137, (await waiting)['exit_status'])

    async def test_virtiofsd_knows_the_cause(self):
        for sign, words in (('virtiofsd has ended', True),
                            ('QEMU has ended', False)):
            self.make(False)
            (self.folder / 'virtiofsd.log').write_text('no space\n')
            await self.end(sign, SIGNS)
            with self.assertRaises(ttrpc.RpcError) as caught:
                await self.ask('Create')
            self.assertEqual(words, 'no space' in str(caught.exception))

    async def test_the_virtiofsd_of_the_live_share_ends(self):
        self.make(True)
        await self.pod.until_ready()
        other = subprocess.Popen(['sleep', '1000'])
        self.addCleanup(other.communicate)
        self.addCleanup(other.kill)
        (self.folder / 'virtiofsd-live.log').write_text('out of luck\n')
        self.pod._on_live_plugged(other.pid)
        other.kill()
        async with asyncio.timeout(30):
            while not self.pod.lost:
                await asyncio.sleep(0.001)
        self.assertEqual(
            'the VM has ended: virtiofsd of the live share has ended: '
            f'{_WORDS}: out of luck', self.pod.lost)

    async def test_only_who_needs_the_live_share_waits_for_it(self):
        self.make(True)
        self.pod._live = mock.Mock(plug=mock.AsyncMock())
        with mock.patch.object(self.pod.agent, 'call', mock.AsyncMock()):
            for ident, needed in (('pod', False), ('c', True)):
                self.vm.live.has.return_value = needed
                await self.ask('Create', ident)
                await self.ask('Start', ident)
                self.assertEqual(needed, self.pod._live.plug.await_count)

    async def test_a_stop_that_was_asked_for_is_no_early_death(self):
        self.make(True)
        await self.ask('Create')
        await self.ask('Start')
        await self.ask('Kill', signal=9)
        self.assertEqual('', self.pod.lost)
        with self.assertRaisesRegex(ttrpc.RpcError, 'before'):
            await self.ask('Start')


class TestLaunch(unittest.TestCase):
    def test_every_failure_to_launch_gives_its_reason(self):
        for error, words in (
                (OSError(28, 'No space left'), 'No space left'),
                (launch.LaunchFailed('/bin/qemu: no'), '/bin/qemu: no'),
                (KeyError('cgroupsPath'), "KeyError: 'cgroupsPath'")):
            with (self.subTest(error=error),
                  mock.patch.object(bootstrap, '_launch', side_effect=error),
                  mock.patch.object(log, 'exception')):
                vm, problem = bootstrap._try_to_launch(None, None, {}, None, None)
                self.assertIsNone(vm)
                self.assertIn('could not launch the VM: ', problem)
                self.assertIn(words, problem)
