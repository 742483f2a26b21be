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

import hashlib
import os
import pathlib
import socket
import time
from unittest import mock

import docker
from tests.functional import kata
from tests.unit import base
from testtools import content
import websocket

from kata_openstack.compute.console import execution
from kata_openstack.compute.console import server

MIB = 1024 * 1024


def until(condition, seconds=60):
    """Wait for the condition; the test must assert it afterwards."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


class Terminal:
    """A user's side: a socket of docker-py, or a WebSocket."""

    def __init__(self, receive, send, leave):
        self.receive = receive
        self.send = send
        self.leave = leave
        self.shown = b''

    def until(self, wanted, seconds=60):
        """Return what was shown up to the text, with it."""
        deadline = time.monotonic() + seconds
        while wanted not in self.shown:
            try:
                more = self.receive()
            except (TimeoutError, websocket.WebSocketTimeoutException):
                more = b''
                if time.monotonic() < deadline:
                    continue
            if not more:
                raise AssertionError(f'{wanted} is not in {self.shown[-500:]}')
            self.shown += more
        before, _, self.shown = self.shown.partition(wanted)
        return before + wanted

    def rest(self):
        while more := self.receive():
            self.shown += more
        return self.shown

    def types(self, text, wanted):
        self.send(text.encode())
        return self.until(wanted).decode()


class ConsoleTestCase(base.TestCase):

    def setUp(self):
        super().setUp()
        self.node = self.useFixture(kata.Node())

    def exec(self, pod, *command, interactive=True, size=None):
        """As zun-wsproxy does."""
        made = self.node.call('create_exec', pod['uuid'], list(command),
                              interactive)
        if size:
            self.node.call('resize_exec', made['exec_id'], *size)
        client = docker.APIClient(base_url=made['url'])
        self.addCleanup(client.close)
        found = client.exec_start(made['exec_id'], socket=True, tty=True)
        found = getattr(found, '_sock', found)
        found.settimeout(2)
        self.addCleanup(found.close)

        def leave():
            found.shutdown(socket.SHUT_RDWR)
            found.close()

        terminal = Terminal(lambda: found.recv(65536), found.sendall, leave)
        terminal.exec_id = made['exec_id']
        return terminal

    def shell(self, pod, **options):
        """A shell whose prompt is a dollar sign and a space."""
        terminal = self.exec(pod, 'env', 'PS1=$ ', 'TERM=dumb', 'sh',
                             **options)
        terminal.until(b'$ ')
        return terminal

    def attach(self, pod):
        url = self.node.call('attach_container', pod['uuid'])['url']
        found = websocket.create_connection(
            url, skip_utf8_validation=True, timeout=2)
        self.addCleanup(found.shutdown)
        return Terminal(found.recv, found.send_binary, found.shutdown)

    def processes(self, pod):
        """Return the commands in the container, but not ps.

        Those that have ended, which nobody there waits for, have brackets.
        """
        lines = self.node.execute(pod, 'ps', '-o', 'args').splitlines()[1:]
        return [line.strip() for line in lines
                if ' -o args' not in line and line[0] != '[']

    def folders(self):
        return list(pathlib.Path(self.node.conf.run_path, 'console').glob(
            '*/*'))


class ExecTest(ConsoleTestCase):

    def setUp(self):
        super().setUp()
        self.pod = self.node.run(['sleep', '100000'])

    def test_a_shell(self):
        shell = self.shell(self.pod, size=(33, 77))
        shell.types('stty size\r', b'33 77\r\n')
        self.node.call('resize_exec', shell.exec_id, 44, 88)
        shell.types('stty size\r', b'44 88\r\n')
        shell.types(
            r"printf 'a\342\202'; sleep 0.1; printf '\254\360\237\230\200b\n'"
            '\r', 'a€😀b\r\n'.encode())
        shell.types(r"printf '\377\376<\n'" '\r', '\ufffd\ufffd<'.encode())
        start = time.monotonic()
        shell.send(b'sleep 1000\r')
        until(lambda: 'sleep 1000' in self.processes(self.pod))
        shell.types('\x03', b'$ ')
        shell.types('echo $?\r', b'130\r\n')
        self.assertLess(time.monotonic() - start, 60)
        shell.send(b'exit\r')
        shell.rest()
        self.assertEqual(['sleep 100000'], self.processes(self.pod))
        self.assertEqual([], until(lambda: not self.folders())
                         and self.folders())

    def test_pastes(self):
        """Raw bytes arrive whole; so do lines that the terminal echoes."""
        # a terminal has keys to leave it
        paste = os.urandom(MIB).replace(b'\x10', b'')
        terminal = self.exec(
            self.pod, 'sh', '-c', 'stty raw -echo; echo ready; '
            f'head -c {len(paste)} | md5sum')
        terminal.until(b'ready')
        terminal.send(paste)
        self.assertIn(hashlib.md5(paste).hexdigest(),
                      terminal.rest().decode())

        lines = b''.join(b'%07d\r' % i for i in range(MIB // 8))
        terminal = self.exec(self.pod, 'sh', '-c',
                             'echo ready; head -n 131072 | md5sum')
        terminal.until(b'ready\r\n')
        terminal.send(lines)  # reads nothing meanwhile
        self.assertIn(hashlib.md5(lines.replace(b'\r', b'\n')).hexdigest(),
                      terminal.rest().decode())

    def test_ten_at_once(self):
        terminals = [self.shell(self.pod) for _ in range(10)]
        for number, terminal in enumerate(terminals):
            terminal.types(f'echo $(({number} + 1110))\r',
                           f'\n{number + 1110}\r\n'.encode())
        before = self.memory()
        for terminal in terminals:
            terminal.send(b'tr "\\0" x < /dev/zero\r')  # nobody reads it
        time.sleep(15)
        grown = self.memory() - before
        self.addDetail('grown', content.text_content(f'{grown / 10:.0f} KiB each'))
        self.assertLess(grown / 10, 1024)
        for terminal in terminals:
            terminal.leave()
        self.assertEqual(['sleep 100000'], until(
            lambda: len(found := self.processes(self.pod)) == 1 and found)
            or self.processes(self.pod))
        self.assertTrue(until(lambda: not self.folders()))

    def memory(self):
        """Return the KiB of this process, in which kata-compute is."""
        status = pathlib.Path('/proc/self/status').read_text()
        return int(status.partition('VmRSS:')[2].split()[0])

    def test_users_who_leave(self):
        """A terminal that hangs up ends its processes, one that detaches
        does not."""
        deaf = self.exec(self.pod, 'sh', '-c',
                         'trap "" HUP; echo ready; while :; do read x; done')
        deaf.until(b'ready')
        deaf.leave()
        gone = self.shell(self.pod)
        gone.send(b'sleep 1004\r')
        until(lambda: 'sleep 1004' in self.processes(self.pod))
        gone.leave()
        detached = self.shell(self.pod)
        detached.send(b'tr "\\0" x < /dev/zero | head -c 3000000; '
                      b'sleep 15; exit\r')
        detached.until(b'xxxx')
        detached.send(b'\x10\x11')
        detached.rest()
        wanted = {'sleep 100000', 'sh', 'sleep 15'}
        self.assertEqual(wanted, until(
            lambda: (found := set(self.processes(self.pod))) == wanted
            and found) or self.processes(self.pod))
        self.assertEqual(1, len(self.folders()))
        self.assertTrue(until(lambda: not self.folders()))

    def test_without_a_terminal(self):
        terminal = self.exec(self.pod, 'sh', '-c',
                             'echo out; echo err >&2; tty; cat',
                             interactive=False)
        self.assertEqual(b'out\nerr\nnot a tty\n', terminal.rest())

    def test_what_cannot_start(self):
        self.assertIn(b'no-such-command: command not found',
                      self.exec(self.pod, 'no-such-command').rest())
        made = self.node.call('create_exec', self.pod['uuid'], ['sh'], True)
        self.node.call('stop_pod', self.pod['uuid'], 0)
        client = docker.APIClient(base_url=made['url'])
        self.addCleanup(client.close)
        found = client.exec_start(made['exec_id'], socket=True, tty=True)
        found = getattr(found, '_sock', found)
        self.assertIn(b'not', found.recv(1000))
        self.assertEqual([], self.folders())

    def test_a_container_that_stops(self):
        shell = self.shell(self.pod)
        self.node.call('stop_pod', self.pod['uuid'], 0)
        shell.rest()
        self.assertTrue(until(lambda: not self.folders()))

    def test_a_kata_compute_that_ends(self):
        shell, detached = self.shell(self.pod), self.shell(self.pod)
        detached.types('sleep 1006 &\r', b'$ ')
        detached.send(b'\x10\x11')
        detached.rest()
        shell.send(b'sleep 1007\r')
        until(lambda: 'sleep 1007' in self.processes(self.pod))
        consoles = self.node.service.consoles
        with mock.patch.object(execution.Execution, 'abandon'):
            consoles.stop()  # as if it were killed: it ends no process
        self.assertEqual(2, len(self.folders()))
        self.assertIn('sleep 1007', self.processes(self.pod))
        consoles.__init__(self.node.conf, self.node.service.client,
                          self.node.service.native,
                          self.node.service.containers)
        consoles.start()
        wanted = {'sleep 100000', 'sh', 'sleep 1006'}
        self.assertEqual(wanted, until(
            lambda: (found := set(self.processes(self.pod))) == wanted
            and found) or self.processes(self.pod))
        self.assertEqual(1, len(self.folders()))
        self.shell(self.pod)


class AttachTest(ConsoleTestCase):

    def test_a_terminal(self):
        pod = self.node.run(
            ['env', 'PS1=$ ', 'TERM=dumb', 'sh'],
            container={'tty': True, 'stdin': True})
        first = self.attach(pod)
        self.assertIn('4242\r\n', first.types('echo $((42*101))\r', b'2\r\n'))
        self.node.call('resize_terminal', pod['uuid'], 21, 42)
        self.assertIn('21 42\r\n', first.types('stty size\r', b'2\r\n$ '))
        second = self.attach(pod)
        second.types('echo $((5*5))\r', b'25\r\n')
        first.until(b'25\r\n')  # both see everything
        second.leave()
        first.types('tr "\\0" x < /dev/zero | head -c 1000000; sleep 1008\r',
                    b'xxxx')
        first.send(b'\x10\x11')
        first.rest()
        self.assertTrue(until(
            lambda: 'sleep 1008' in self.processes(pod)))
        again = self.attach(pod)
        self.assertIn('again\r\n', again.types('\x03echo a''gain\r',
                                               b'again\r\n'))
        again.send(b'exit\r')
        again.rest()
        self.assertEqual('exited', until(lambda: (
            found := self.node.call('show_pod', pod['uuid'])['containers'][0]
            ['state']) == 'exited' and found))

    def test_without_a_terminal(self):
        pod = self.node.run(
            ['sh', '-c', 'while read line; do echo "<$line>"; '
             'echo "[$line]" >&2; done'], container={'stdin': True})
        attached = self.attach(pod)
        attached.send(b'a\x10\x11\n')
        shown = attached.until(b'<a\x10\x11>\n') + attached.shown
        if b'[a' not in shown:
            attached.until(b'[a\x10\x11]\n')
        attached.leave()
        attached = self.attach(pod)
        attached.send(b'b\n')
        attached.until(b'<b>\n')
        self.assertIn('<b>', self.node.call('logs', pod['uuid']))

    def test_a_user_who_does_not_read(self):
        """The container waits for a while only."""
        self.patch(server, '_PATIENCE', 3)
        pod = self.node.run(
            ['sh', '-c', 'read x; tr "\\0" x < /dev/zero | head -c 20000000; '
             'touch /done; sleep 1000'], container={'tty': True, 'stdin': True})
        self.attach(pod).send(b'\r')
        self.assertTrue(until(lambda: self.node.call(
            'exec_sync', pod['uuid'], ['test', '-e', '/done'])['exit_code']
            == 0, 120))
