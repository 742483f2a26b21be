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

import asyncio
import json
import os
import tempfile
import types
import unittest
from unittest import mock

from kata_openstack import exception
from kata_openstack.runtime.embedded import guest_client
from kata_openstack.runtime.embedded.shim.control import guest_service
from kata_openstack.runtime.embedded.shim import guest_process
from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.shim.wire import ttrpc
from kata_openstack.runtime.embedded.vm import agent_channel

SHELL = {'pid': 1, 'ppid': 0, 'uid': 0, 'gid': 0, 'cpu_seconds': 0.5,
         'nice': -5, 'threads': 1, 'age_seconds': 9.5, 'virtual_kib': 8,
         'resident_kib': 4, 'state': 'S', 'name': 'sh', 'arguments': 'sh',
         'tty': ''}


class TestProcesses(unittest.IsolatedAsyncioTestCase):

    async def asyncSetUp(self):
        self.answers = []
        self.agent = types.SimpleNamespace(call=mock.AsyncMock(
            side_effect=lambda *_, **__: self.answers.pop(0)))
        self.container = sandbox.Container('c', '/bundle', {})
        self.container.first = types.SimpleNamespace(
            status=guest_process.RUNNING)
        self.pod = types.SimpleNamespace(
            agent=self.agent, containers={'c': self.container}, lost='')
        self.service = guest_service.GuestService(self.pod)

    async def ask(self, method='Processes', payload=b'{"container": "c"}'):
        return json.loads(await self.service.handle(method, payload))

    async def refuses(self, code, *arguments):
        with self.assertRaises(ttrpc.RpcError) as caught:
            await self.ask(*arguments)
        self.assertEqual(code, caught.exception.code)

    async def test_one_part_after_the_other(self):
        self.answers = [{'processes': [SHELL], 'last': 4},
                        {'processes': [{**SHELL, 'pid': 7}], 'last': 0}]
        found = (await self.ask())['processes']
        self.assertEqual([SHELL, {**SHELL, 'pid': 7}], found)
        self.assertEqual([0, 4], [call.kwargs['after'] for call
                                  in self.agent.call.await_args_list])

    async def test_a_guest_that_lies(self):
        wrong = {'pid': 'x', 'uid': 1 << 60, 'cpu_seconds': float('nan'),
                 'arguments': '\x1b[2J' + 'x' * 5000, 'name': ['sh']}
        self.answers = [{'processes': [wrong, 'text', None], 'last': 'x'}]
        [found] = (await self.ask())['processes']
        self.assertEqual((0, 0, 0, "['sh']"), tuple(
            found[name] for name in ('pid', 'uid', 'cpu_seconds', 'name')))
        self.assertNotIn('\x1b', found['arguments'])
        self.assertLess(len(found['arguments']), 1100)
        for answer in ({}, {'processes': 5}, {'processes': [], 'last': -1}):
            self.answers = [answer]
            self.assertEqual({'processes': []}, await self.ask())

    async def test_a_guest_without_end(self):
        counter = iter(range(1, 1 << 30))
        self.agent.call.side_effect = lambda *_, **__: {
            'processes': [SHELL] * 100, 'last': next(counter)}
        self.assertEqual(2000, len((await self.ask())['processes']))

    async def test_a_guest_that_gives_nothing_without_end(self):
        counter = iter(range(1, 1 << 30))
        self.agent.call.side_effect = lambda *_, **__: {
            'processes': [], 'last': next(counter)}
        async with asyncio.timeout(5):
            self.assertEqual([], (await self.ask())['processes'])

    async def test_a_guest_with_nothing_readable_without_end(self):
        counter = iter(range(1, 1 << 30))
        self.agent.call.side_effect = lambda *_, **__: {
            'processes': [1], 'last': next(counter)}
        async with asyncio.timeout(5):
            self.assertEqual({'processes': []}, await self.ask())

    async def test_refusals(self):
        await self.refuses(ttrpc.UNIMPLEMENTED, 'Other')
        await self.refuses(ttrpc.INVALID_ARGUMENT, 'Processes', b'no JSON')
        await self.refuses(ttrpc.INVALID_ARGUMENT, 'Processes', b'{"x": 1}')
        await self.refuses(ttrpc.NOT_FOUND, 'Processes',
                           b'{"container": "other"}')
        self.container.first.status = guest_process.STOPPED
        await self.refuses(ttrpc.NOT_FOUND)
        self.container.first.status = guest_process.RUNNING
        for error, code in ((agent_channel.AgentGone('x'), ttrpc.UNAVAILABLE),
                            (agent_channel.AgentError('x'), ttrpc.UNKNOWN)):
            self.agent.call.side_effect = error
            await self.refuses(code)


class TestClient(TestProcesses):
    """The same service behind a real socket."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 's')

        async def handle(name, method, payload):
            self.assertEqual(guest_service.NAME, name)
            return await self.service.handle(method, payload)
        listening = await asyncio.start_unix_server(
            ttrpc.Server(handle).serve, self.path)
        self.addCleanup(listening.close)
        for target, name, value in (
                (guest_client.settings.Settings, 'load', None),
                (guest_client.embedded, 'config_path', ''),
                (guest_client.state.State, 'load',
                 types.SimpleNamespace(socket=self.path))):
            patch = mock.patch.object(target, name, return_value=value)
            patch.start()
            self.addCleanup(patch.stop)

    async def ask(self, method='Processes', payload=b'{"container": "c"}',
                  timeout=10):
        return await asyncio.to_thread(
            guest_client.call, mock.Mock(), 's', method, timeout,
            **(json.loads(payload) if payload != b'no JSON' else {}))

    async def refuses(self, code, *arguments):
        expected = {ttrpc.UNIMPLEMENTED: guest_client.NoGuestService,
                    ttrpc.NOT_FOUND: exception.NotFound}.get(
                        code, exception.RuntimeFailed)
        with self.assertRaises(expected):
            await self.ask(*arguments)

    async def test_a_shim_that_does_not_answer(self):
        async def wait(*_, **__):
            await asyncio.sleep(100)
        self.agent.call.side_effect = wait
        with self.assertRaisesRegex(exception.RuntimeFailed,
                                    'does not answer'):
            await self.ask(timeout=0.1)
        os.unlink(self.path)
        with self.assertRaisesRegex(exception.RuntimeFailed,
                                    'does not answer'):
            await self.ask()

    async def test_a_sandbox_of_another_runtime(self):
        guest_client.state.State.load.return_value = None
        with self.assertRaises(guest_client.NoGuestService):
            await self.ask()
