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

"""The task service, with a guest that misbehaves."""

import asyncio
import contextlib
import os
import types
import unittest
from unittest import mock

from kata_openstack.runtime.embedded.shim import guest_process
from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.shim import service
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import ttrpc
from kata_openstack.runtime.embedded.vm import agent_channel

_QEMU = 4711


class Agent:
    """A guest.

    ``answers`` are by method; None means that it does not answer.
    """

    def __init__(self):
        self.answers = {}
        self.calls = []
        self.receivers = {}
        self.closed = ''
        self.gone = asyncio.Event()

    def new_id(self):
        return len(self.receivers) + 1

    def receive(self, ident, receiver):
        self.receivers[ident] = receiver

    def forget(self, ident):
        del self.receivers[ident]

    def send(self, kind, ident, payload=b''):
        pass

    async def call(self, method, *, seconds=30, **arguments):
        self.calls.append((method, arguments))
        answer = self.answers.get(method, {})
        if answer is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.gone.wait()
            raise agent_channel.AgentGone('no answer')
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self, reason):
        self.closed = reason
        self.gone.set()
        for receiver in self.receivers.values():
            receiver.on_exit(137, False)


class TestTaskService(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.agent = Agent()
        self.publisher = mock.Mock(settle=mock.AsyncMock())
        self.first = guest_process.Process(
            'c', '', {'terminal': 0, 'stdin': '', 'stdout': '',
                      'stderr': ''}, lambda stopped: None)
        container = sandbox.Container('c', '/bundle', {})
        container.first = self.first
        self.pod = mock.Mock(
            agent=self.agent, pid=_QEMU, containers={'c': container}, lost='',
            publisher=self.publisher,
            moved_bytes=mock.Mock(return_value=(0, 0)))
        self.service = service.TaskService(self.pod)
        await self.first.start(self.agent, self.nothing, lambda: None)

    async def nothing(self, ident):
        pass

    async def ask(self, method, **request):
        taken, given = messages.TASK_METHODS[method]
        return given.decode(await self.service.handle(
            messages.TASK_SERVICE, method,
            taken.encode({'id': 'c', **request})))

    def seconds(self, name, value):
        patch = mock.patch.object(service, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    async def test_the_only_pid_is_qemus(self):
        answer = await self.ask('Pids')
        self.assertEqual([_QEMU],
                         [found['pid'] for found in answer['processes']])

    async def test_the_figures_of_a_sandbox_are_those_of_its_pod(self):
        container = self.pod.containers['c']
        container.guest = None
        self.pod.figures.return_value = {'memory.current': 4096}
        answer = await self.ask('Stats')
        found = messages.METRICS.decode(answer['stats']['value'])
        self.assertEqual(4096, found['memory']['usage'])
        self.assertEqual([], self.agent.calls)

    async def test_the_disk_use_of_a_container(self):
        self.pod.moved_bytes.return_value = (5, 6)
        answer = await self.ask('Stats')
        found = messages.METRICS.decode(answer['stats']['value'])
        self.assertEqual([{'rbytes': 5, 'wbytes': 6}], found['io']['usage'])

    async def test_deleted_before_the_start(self):
        """The first process counts as killed; an exec never existed."""
        request = {'terminal': 0, 'stdin': '', 'stdout': '', 'stderr': ''}
        container = self.pod.containers['c']
        container.execs['e'] = guest_process.Process(
            'c', 'e', request, lambda stopped: None)
        self.assertEqual(0, (await self.ask('Delete', exec_id='e'))[
            'exit_status'])
        container.first = guest_process.Process(
            'c', '', request, lambda stopped: None)
        self.assertEqual(137, (await self.ask('Delete'))['exit_status'])
        self.assertEqual(137, self.publisher.publish.call_args.kwargs[
            'exit_status'])

    async def test_an_exit_waits_for_the_event_of_its_cause(self):
        delivered = asyncio.Event()
        self.publisher.settle = lambda seconds: delivered.wait()
        waiting = asyncio.create_task(self.ask('Wait'))
        await asyncio.sleep(0)
        self.first.on_exit(137, True)
        for _ in range(5):
            await asyncio.sleep(0)
        self.assertFalse(waiting.done())
        delivered.set()
        self.assertEqual(137, (await waiting)['exit_status'])

    async def test_an_exit_without_a_cause_does_not_wait(self):
        self.publisher.settle = mock.AsyncMock(side_effect=AssertionError)
        self.first.on_exit(1, False)
        self.assertEqual(1, (await self.ask('Wait'))['exit_status'])

    async def test_a_guest_that_ends_the_process_is_left_alone(self):
        self.seconds('_KILL_SECONDS', 0.01)
        await self.ask('Kill', signal=9)
        self.first.on_exit(137, False)
        await asyncio.sleep(0.05)
        self.assertEqual('', self.agent.closed)
        self.assertEqual(set(), self.service._tasks)

    async def test_a_guest_that_does_not_answer_has_no_figures(self):
        # containerd asks for all pods' figures one after the other
        self.assertLessEqual(service._STATS_SECONDS, 5)
        self.seconds('_STATS_SECONDS', 0.01)
        self.agent.answers['stats'] = None
        async with asyncio.timeout(5):
            with self.assertRaisesRegex(ttrpc.RpcError, 'no answer') as caught:
                await self.ask('Stats')
        self.assertEqual(ttrpc.UNAVAILABLE, caught.exception.code)

    async def test_an_exec_that_is_no_json(self):
        before = os.listdir('/proc/self/fd')
        with self.assertRaises(ttrpc.RpcError) as caught:
            await self.ask('Exec', exec_id='e', stdin=os.devnull,
                           spec={'type_url': '', 'value': b'no JSON'})
        self.assertEqual(ttrpc.INVALID_ARGUMENT, caught.exception.code)
        self.assertEqual(before, os.listdir('/proc/self/fd'))
        self.assertEqual({}, self.pod.containers['c'].execs)

    async def test_checkpoints_are_refused(self):
        for field in ('checkpoint', 'parent_checkpoint'):
            with self.assertRaisesRegex(ttrpc.RpcError,
                                        'checkpoints') as caught:
                await self.ask('Create', id='new', **{field: '/c'})
            self.assertEqual(ttrpc.UNIMPLEMENTED, caught.exception.code)
        self.pod.add.assert_not_called()

    async def test_other_signals_may_be_ignored(self):
        self.seconds('_KILL_SECONDS', 0.01)
        await self.ask('Kill', signal=15)
        await asyncio.sleep(0.05)
        self.assertEqual('', self.agent.closed)

    async def test_a_guest_that_does_not_end_the_process_is_ended(self):
        self.seconds('_KILL_SECONDS', 0.01)
        for answer in ({}, agent_channel.AgentError('I will not'), None):
            with self.subTest(answer=answer):
                await self.asyncSetUp()
                self.agent.answers['kill'] = answer
                asking = asyncio.create_task(self.ask('Kill', signal=9))
                async with asyncio.timeout(5):
                    ended = await self.ask('Wait')
                self.assertEqual(137, ended['exit_status'])
                self.assertIn('did not end a process within 0.01 s',
                              self.agent.closed)
                try:
                    async with asyncio.timeout(5):
                        self.assertEqual({}, await asking)
                except ttrpc.RpcError as e:  # as for one that has ended
                    self.assertEqual(ttrpc.NOT_FOUND, e.code)

    async def test_a_kill_during_the_start_is_not_lost(self):
        self.seconds('_KILL_SECONDS', 5)
        answered = asyncio.Event()

        async def call(ident):
            await answered.wait()
        starting = asyncio.create_task(self.first.start(
            self.agent, call, lambda: None))
        await asyncio.sleep(0)
        self.agent.answers['kill'] = agent_channel.AgentError('finished')
        with self.assertRaises(ttrpc.RpcError):
            await self.ask('Kill', signal=9)
        self.agent.answers['kill'] = {}
        answered.set()
        await starting
        async with asyncio.timeout(5):
            while len(self.agent.calls) < 2:
                await asyncio.sleep(0.01)
        self.first.on_exit(137, False)
        self.assertEqual('', self.agent.closed)


class TestBeforeTheStart(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.agent = Agent()
        self.first = guest_process.Process(
            'c', '', {'terminal': 0, 'stdin': '', 'stdout': '',
                      'stderr': ''}, lambda stopped: None)
        container = sandbox.Container('c', '/bundle', {})
        container.first = self.first
        self.pod = types.SimpleNamespace(
            agent=self.agent, pid=_QEMU, containers={'c': container}, lost='',
            until_ready=mock.AsyncMock(), share_live=mock.AsyncMock(),
            publisher=mock.Mock())
        self.service = service.TaskService(self.pod)

    def ask(self, method, **request):
        taken, _ = messages.TASK_METHODS[method]
        return self.service.handle(messages.TASK_SERVICE, method,
                                   taken.encode({'id': 'c', **request}))

    async def test_what_was_killed_meanwhile_is_not_started(self):
        for step in ('until_ready', 'share_live'):
            with self.subTest(step=step):
                await self.asyncSetUp()
                go = asyncio.Event()

                async def wait(*args, go=go):
                    await go.wait()
                setattr(self.pod, step, wait)
                start = asyncio.create_task(self.ask('Start'))
                await asyncio.sleep(0)
                await self.ask('Kill', signal=9)
                go.set()
                with self.assertRaisesRegex(ttrpc.RpcError,
                                            'killed or deleted'):
                    await start
                self.assertEqual([], self.agent.calls)
                self.assertEqual(137, self.first.exit_status)

    async def test_without_its_share_it_is_not_started(self):
        self.pod.share_live.side_effect = agent_channel.AgentError(
            'cannot share files: out of luck')
        with self.assertRaisesRegex(ttrpc.RpcError, 'out of luck'):
            await self.ask('Start')
        self.assertEqual([], self.agent.calls)
        self.assertEqual(127, self.first.exit_status)
