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

"""The agent outlives errors: it is PID 1, so its end is the VM's."""

import contextlib
import json
import os
import select
import signal
import socket
import time
from unittest import mock

from kata_openstack.runtime.embedded.agent import main
from kata_openstack.runtime.embedded.agent import process
from kata_openstack.runtime.embedded.common import protocol
from tests.unit.runtime.embedded.image import base


class Ended(BaseException):
    """Ends the agent's loop, which has no end of its own."""


class TestErrors(base.FolderTestCase):
    def setUp(self):
        super().setUp()
        self.shim, port = socket.socketpair()
        for end in (self.shim, port):
            self.addCleanup(end.close)
        port.setblocking(False)
        self.shim.settimeout(10)
        self.addCleanup(signal.set_wakeup_fd, -1)
        self.addCleanup(signal.signal, signal.SIGCHLD,
                        signal.getsignal(signal.SIGCHLD))
        self.logged = []
        for name, value in (('_FOLDERS', str(self.folder)), ('_PAUSE', 0),
                            ('_log', self.logged.append)):
            patch = mock.patch.object(main, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.agent = main.Agent(port.fileno())
        self.decoder = protocol.Decoder(protocol.MAX_FROM_GUEST)

    def run_agent(self):
        """Let it handle all that is ready now."""
        real = self.agent._poll

        class Poll:
            register = real.register
            unregister = real.unregister
            modify = real.modify

            def poll(self):
                found = real.poll(0)
                if not found:
                    raise Ended
                return found
        self.agent._poll = Poll()
        try:
            self.assertRaises(Ended, self.agent.run)
        finally:
            self.agent._poll = real

    def told(self):
        """Return what the agent sent, but READY."""
        return [(kind, ident, payload) for kind, ident, payload
                in self.decoder.feed(self.shim.recv(65536))
                if kind != protocol.READY]

    def ping(self):
        return protocol.frame(protocol.CALL, 7, b'{"do": "ping"}')

    def test_frames_that_cannot_be_handled(self):
        self.agent._processes[1] = mock.Mock(
            feed=mock.Mock(side_effect=OSError(5, 'a bad terminal')))
        self.shim.sendall(
            protocol.frame(protocol.CALL, 5, b'no JSON')
            + protocol.frame(protocol.ACK, 1, b'short')
            + protocol.frame(protocol.STDIN, 1, b'text') + self.ping())
        self.run_agent()
        (kind, ident, payload), = self.told()
        self.assertEqual((protocol.REPLY, 7), (kind, ident))
        self.assertIn('kernel', json.loads(payload))
        self.assertEqual(3, len(self.logged))
        self.assertIn('a bad terminal', self.logged[-1])

    def test_a_stream_that_cannot_be_read(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.write(writer, b'x')
        os.close(writer)
        owner = mock.Mock()

        def fail(fd, mask):
            self.agent.forget(fd)
            raise OSError(5, 'a bad disk')
        owner.ready = fail
        self.agent.watch(reader, 1, owner)
        self.shim.sendall(self.ping())
        self.run_agent()
        self.assertEqual([(protocol.REPLY, 7)],
                         [found[:2] for found in self.told()])
        self.assertIn('a bad disk', self.logged[0])

    def test_one_child_does_not_hide_the_next(self):
        handled = []

        def handle(pid, status):
            handled.append(pid)
            if len(handled) == 1:
                raise PermissionError('no')
        ends = [(11, 0), (12, 0), (0, 0)]
        with (mock.patch.object(self.agent, '_on_reaped', handle),
              mock.patch.object(os, 'waitpid', side_effect=ends)):
            self.agent._reap()
        self.assertEqual([11, 12], handled)
        self.assertEqual(1, len(self.logged))

    def test_a_start_without_a_pid_is_answered(self):
        """crun succeeded, but its pid file is empty."""
        folder = self.folder / '3'
        folder.mkdir()
        (folder / 'pid').write_text('')
        new = process.Process(self.agent, 3, 'c', str(folder), False, True)
        new.starter = 11
        self.agent._processes[3] = new
        self.agent._starting[3] = 9
        self.agent._poll.register(self.agent._port, 1)
        self.agent._on_reaped(11, 0)
        (kind, ident, payload), = self.told()
        self.assertEqual((protocol.REPLY, 9), (kind, ident))
        self.assertIn('invalid literal', json.loads(payload)['error'])
        self.assertEqual({}, self.agent._processes)
        self.assertFalse(folder.exists())

    def call(self, number, **arguments):
        self.shim.sendall(protocol.frame(protocol.CALL, number,
                                         json.dumps(arguments).encode()))

    def test_an_archive(self):
        def run(first, order):
            os.write(1, f'{first} {order["path"]}'.encode() + os.read(0, 9))
            os.write(2, b'{}')
            os._exit(0)
        order = {'put': True, 'path': '/x', 'limit': 1}
        self.agent._processes[3] = mock.Mock(first=True, pid=77,
                                             container='c')
        with mock.patch.object(main.guest_archive, 'run', run):
            self.call(9, do='archive', ident=5, container='c', order=order)
            self.shim.sendall(protocol.frame(protocol.STDIN, 5, b' in')
                              + protocol.frame(protocol.STDIN_EOF, 5))
            self.run_agent()
        told = self.told()
        deadline = time.monotonic() + 10
        while protocol.EXIT not in [kind for kind, _, _ in told]:
            self.assertLess(time.monotonic(), deadline)
            self.agent._reap()
            self.run_agent()
            self.shim.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                told += self.told()
        self.assertEqual((protocol.REPLY, 9, b'{}'), told[0])
        for kind, expected in ((protocol.STDOUT, b'77 /x in'),
                               (protocol.STDERR, b'{}')):
            self.assertEqual(expected, b''.join(
                payload for found, _, payload in told if found == kind))
        self.assertEqual([3], list(self.agent._processes))

    def test_a_copy_that_was_killed_is_not_the_container(self):
        first = mock.Mock(first=True, copy=False, container='c', ident=1)
        copy = mock.Mock(first=False, copy=True, container='c', ident=2,
                         aborted=False)
        for one in (first, copy):
            one.folder = str(self.folder / 'none')
        for kills, killed, expected in ((1, [copy], False), (1, [], True),
                                        (2, [copy], True), (0, [copy], False)):
            with mock.patch.object(main.crun, 'oom_kills',
                                   return_value=kills):
                for one in killed:
                    self.agent._on_process_ended(one, signal.SIGKILL)
                self.agent._on_process_ended(first, 0)
            first.ended.assert_called_with(0, expected)
        self.assertEqual({}, self.agent._victims)

    def test_a_copy_that_the_shim_ends_is_no_victim_of_memory(self):
        """Else a later lack of memory of the container would be hidden."""
        self.agent._poll.register(self.agent._port, select.POLLIN)
        for ident, everyone in ((2, False), (1, True)):
            first, copy = (process.Process(self.agent, number, 'c', '', False,
                                           number == 1) for number in (1, 2))
            first.pid, copy.pid, copy.copy = 77, 78, True
            self.agent._processes.update({1: first, 2: copy})
            with (mock.patch.object(os, 'kill'),
                  mock.patch.object(main.crun, 'kill_all')):
                self.agent._on_call(9, {
                    'do': 'kill', 'ident': ident, 'number': signal.SIGKILL,
                    'everyone': everyone})
            self.agent._on_process_ended(copy, signal.SIGKILL)
            with mock.patch.object(main.crun, 'oom_kills', return_value=1):
                self.agent._on_process_ended(first, signal.SIGKILL)
            self.assertIn((protocol.EXIT, 1, protocol.STATUS.pack(137, True)),
                          self.told())

    def test_an_archive_that_cannot_be_made(self):
        order = {'put': True, 'path': '/x', 'limit': 1}
        self.call(9, do='archive', ident=5, container='c', order=order)
        self.run_agent()
        self.assertIn(b'does not run', self.told()[0][2])
        self.agent._processes[3] = mock.Mock(first=True, pid=77,
                                             container='c')
        with mock.patch.object(os, 'fork', side_effect=OSError(12, 'full')):
            self.call(9, do='archive', ident=5, container='c', order=order)
            self.run_agent()
        self.assertIn(b'full', self.told()[0][2])
        self.assertEqual(([3], {}), (list(self.agent._processes),
                                     self.agent._watched))

    def test_a_stream_without_frames_ends_the_vm(self):
        self.shim.sendall(b'\xff' * 20)
        self.assertRaises(protocol.ProtocolError, self.agent.run)


class TestLog(base.FolderTestCase):
    def test_a_log_that_is_full_stops_nothing(self):
        with mock.patch.object(os, 'write', side_effect=OSError) as write:
            main._log('x' * 5000)
        self.assertEqual(main._MAX_LOG, len(write.call_args.args[1]))
