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
import contextlib
import os
import pathlib
import signal
from unittest import mock

import fixtures
from tests.unit import base

from kata_openstack.compute.console import execution
from kata_openstack import exception


class Api:
    """Stands in for containerd: the 'process' is the test.

    ``calls``: in order; ``ends_on``: the signal that ends the process.
    """

    def __init__(self):
        self.calls = []
        self.ends_on = signal.SIGHUP
        self.fail = {}
        self.ended = asyncio.Event()

    def _note(self, name, *args):
        self.calls.append((name, *args))
        if name in self.fail:
            raise self.fail[name]

    async def add(self, container, exec_id, process, stdin, stdout, stderr):
        self.paths = {'stdin': stdin, 'stdout': stdout, 'stderr': stderr}
        self._note('add', container)

    async def start(self, container, exec_id):
        self._note('start')

    async def resize(self, container, exec_id, rows, columns):
        self._note('resize', rows, columns)

    async def kill(self, container, exec_id, number):
        self._note('kill', number)
        if number == self.ends_on:
            self.ended.set()

    async def delete(self, container, exec_id):
        self._note('delete')

    async def wait(self, container, exec_id):
        await self.ended.wait()

    def write(self, data):
        fd = os.open(self.paths['stdout'], os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)


class ExecutionTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def run_with(self, use, terminal=True, size=None, **settings):
        async def run():
            self.api = Api()
            for name, value in settings.items():
                setattr(self.api, name, value)
            subject = await execution.Execution.start(
                self.api, self.root, 'c1', {'terminal': terminal}, True, size)
            return await use(subject)
        return asyncio.run(asyncio.wait_for(run(), 60))

    def assert_nothing_left(self):
        self.assertEqual([], list(self.root.iterdir()))
        self.assertEqual(('delete',), self.api.calls[-1])
        self.assertEqual([], [
            link for fd in os.listdir('/proc/self/fd')
            for link in [os.path.realpath(f'/proc/self/fd/{fd}')]
            if link.startswith(str(self.root))])

    def test_output_until_the_end(self):
        async def use(subject):
            self.api.write(b'a' * 40000)
            found = await subject.receive()
            asyncio.get_running_loop().call_later(0.1, self.api.ended.set)
            while data := await subject.receive():
                found += data
            await subject.close()
            return found
        self.assertEqual(b'a' * 40000, self.run_with(use, size=(24, 80)))
        self.assertEqual([('add', 'c1'), ('resize', 24, 80), ('start',),
                          ('delete',)], self.api.calls)
        self.assertEqual('', self.api.paths['stderr'])
        self.assert_nothing_left()

    def test_input_that_nobody_reads_yet(self):
        async def use(subject):
            sending = asyncio.create_task(subject.send(b'x' * 200000))
            await asyncio.sleep(0.1)
            self.assertFalse(sending.done())
            fd = os.open(self.api.paths['stdin'], os.O_RDONLY | os.O_NONBLOCK)
            got = 0
            while not sending.done():
                got += len(os.read(fd, 65536))
                await asyncio.sleep(0.01)
            got += len(os.read(fd, 65536))
            os.close(fd)
            self.api.ended.set()
            await subject.close()
            return got
        self.assertEqual(200000, self.run_with(use))

    def test_both_outputs_without_a_terminal(self):
        async def use(subject):
            self.api.ended.set()
            await subject.close()
        self.run_with(use, terminal=False)
        self.assertEqual(self.api.paths['stdout'], self.api.paths['stderr'])

    def test_abandoned(self):
        async def use(subject):
            self.api.write(b'a' * 60000)
            await subject.abandon()
        self.run_with(use)
        self.assertEqual([('kill', 1), ('delete',)], self.api.calls[2:])
        self.assert_nothing_left()

    def test_a_process_that_ignores_the_hang_up(self):
        self.patch(execution, '_HANG_UP', 0.1)
        self.run_with(lambda subject: subject.abandon(), ends_on=9)
        self.assertEqual([('kill', 1), ('kill', 9), ('delete',)],
                         self.api.calls[2:])
        self.assert_nothing_left()

    def test_a_guest_that_does_not_answer(self):
        """The next kata-compute tries again."""
        self.patch(execution, '_HANG_UP', 0.1)
        self.patch(execution, '_KILL', 0.1)
        self.run_with(lambda subject: subject.abandon(), ends_on=None)
        (folder,) = execution.folders(self.root)

        async def again():
            api = Api()
            subject = execution.Execution.adopt(api, folder)
            self.assertFalse(subject.detached)
            await subject.abandon()
        asyncio.run(asyncio.wait_for(again(), 10))
        self.assertEqual([], list(self.root.iterdir()))

    def test_detached(self):
        async def use(subject):
            self.assertTrue(subject.detach())
            finishing = asyncio.create_task(subject.finish())
            for _ in range(5):
                self.api.write(b'a' * 60000)
                await asyncio.sleep(0.5)
            self.assertFalse(finishing.done())
            (folder,) = execution.folders(self.root)
            self.assertTrue(execution.Execution(self.api, folder).detached)
            self.api.ended.set()
            await finishing
        self.run_with(use)
        self.assertNotIn('kill', [name for name, *_ in self.api.calls])
        self.assert_nothing_left()

    def test_output_that_nobody_sees(self):
        """It costs little, and the process waits."""
        async def use(subject):
            loop = asyncio.get_running_loop()
            self.assertTrue(subject.detach())
            finishing = asyncio.create_task(subject.finish())
            taken, begun = 0, loop.time()
            while loop.time() - begun < 2:
                with contextlib.suppress(BlockingIOError):
                    self.api.write(b'y' * 4096)
                    taken += 4096
                await asyncio.sleep(0.0001)
            self.api.ended.set()
            await finishing
            return taken
        taken = self.run_with(use)
        # and what the FIFO holds
        self.assertLess(taken, 2 * 256 * 1024 + 65536 + 65536)
        self.assertGreater(taken, 65536)

    def test_detached_processes_have_a_limit(self):
        """Each container has its own, also after a restart."""
        self.patch(execution, '_DETACHED_PER_CONTAINER', 2)

        async def use(first):
            async def start(container):
                return await execution.Execution.start(
                    self.api, self.root, container, {'terminal': True}, True,
                    None)

            second, third, other = [
                await start(c) for c in ('c1', 'c1', 'c2')]
            self.assertEqual([True, True, False, True], [
                each.detach() for each in (first, second, third, other)])
            self.assertEqual([True, True, False, True], [
                each.detached for each in (first, second, third, other)])
            second._close(keep=True)  # as if kata-compute was killed
            second = execution.Execution.adopt(self.api, second._folder)
            self.assertTrue(second.detached)
            self.assertFalse(third.detach())
            self.api.ended.set()
            await second.finish()
            self.assertTrue(third.detach())
            for each in (first, third, other):
                await each.finish()
        self.run_with(use)
        self.assert_nothing_left()

    def test_a_detach_that_cannot_be_noted(self):
        async def use(subject):
            with mock.patch.object(pathlib.Path, 'touch',
                                   side_effect=OSError(28, 'full')):
                self.assertFalse(subject.detach())
            await subject.abandon()
        self.run_with(use)
        self.assert_nothing_left()

    def test_a_start_that_fails(self):
        error = exception.RuntimeFailed(operation='Start', why='no')
        for name in ('add', 'start'):
            self.assertRaises(exception.RuntimeFailed, self.run_with, None,
                              fail={name: error})
            self.assertEqual([], list(self.root.iterdir()))
        self.assert_nothing_left()

    def test_a_start_that_may_have_succeeded(self):
        """What cannot be removed stays known."""
        error = exception.RuntimeFailed(operation='Start', why='too late')
        self.assertRaises(exception.RuntimeFailed, self.run_with, None,
                          fail={'start': error, 'delete': error})
        self.assertEqual(1, len(execution.folders(self.root)))

    def test_only_root_reads_the_fifos(self):
        async def use(subject):
            (folder,) = execution.folders(self.root)
            self.assertEqual(0o700, folder.stat().st_mode & 0o777)
            self.api.ended.set()
            await subject.close()
        self.run_with(use)
