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

"""A sandbox's daemon ends if containerd makes no request."""

import asyncio
import socket
import tempfile
import unittest
from unittest import mock

from kata_openstack.runtime.embedded.shim import daemon
from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import ttrpc


class TestServe(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = f'{folder.name}/s'
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.pod = mock.Mock(containers={}, pid=4711)
        self.log = mock.Mock()
        for place, name, value in (
                (daemon, '_FIRST_SECONDS', 0.2), (daemon, 'log', self.log),
                (sandbox, 'Sandbox', mock.Mock(return_value=self.pod))):
            patch = mock.patch.object(place, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def serve(self):
        return asyncio.create_task(daemon._serve(
            None, mock.Mock(namespace='n'), mock.Mock(), {}, self.listener))

    async def ask(self, client, method):
        taken, _ = messages.TASK_METHODS[method]
        await client.call(messages.TASK_SERVICE, method,
                          taken.encode({'id': 's'}), [])

    async def test_nobody_calls(self):
        async with asyncio.timeout(10):
            await self.serve()
        self.pod.stop_vm.assert_called_once_with()
        self.assertIn('no request within 0.2 s',
                      self.log.error.call_args.args[0])

    async def test_one_request_is_enough(self):
        serving = self.serve()
        client = ttrpc.Client(self.path)
        self.addCleanup(client.close)
        await self.ask(client, 'Connect')
        await asyncio.sleep(0.4)
        self.assertFalse(serving.done())
        self.pod.stop_vm.assert_not_called()
        await self.ask(client, 'Shutdown')
        async with asyncio.timeout(10):
            await serving
        self.pod.stop_vm.assert_called_once_with()
        self.log.error.assert_not_called()
