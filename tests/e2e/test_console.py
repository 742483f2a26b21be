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

"""Terminals, as zunclient uses them through zun-wsproxy."""

import fcntl
import hashlib
import os
import pty
import select
import struct
import sys
import termios
import threading
import time

from tests.e2e import base
import websocket
from zunclient.common.apiclient import exceptions as zun_exc
from zunclient.common.websocketclient import websocketclient

SHELL = "env TERM=dumb PS1='$ ' sh"
PASTE = 1024 * 1024


class Terminal:
    """A client of zunclient, connected."""

    def __init__(self, client):
        self.client = client
        self.shown = ''
        client.connect()
        client.ws.settimeout(2)

    def type(self, text):
        self.client.send(text.encode())

    def until(self, wanted, seconds=base.SECONDS):
        deadline = time.monotonic() + seconds
        while wanted not in self.shown:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f'{wanted!r} is not in {self.shown[-500:]!r}')
            try:
                data = self.client.recv()
            except websocket.WebSocketTimeoutException:
                continue
            if not data:
                raise AssertionError(f'it ended: {self.shown[-500:]!r}')
            # as zunclient does: each message for itself
            self.shown += data if isinstance(data, str) else data.decode()
        self.shown = self.shown.partition(wanted)[2]

    def end(self):
        """Return all that is shown until the connection ends."""
        deadline = time.monotonic() + base.SECONDS
        while time.monotonic() < deadline:
            try:
                data = self.client.recv()
            except websocket.WebSocketTimeoutException:
                continue
            except websocket.WebSocketConnectionClosedException:
                return self.shown
            if not data:
                return self.shown
            self.shown += data if isinstance(data, str) else data.decode()
        raise AssertionError('it does not end')


class ConsoleTest(base.TestCase):

    def prepare(self, container, command=SHELL):
        """Return what the API answers: proxy_url and exec_id."""
        return base.zun().containers.execute(
            container.uuid, command=command, interactive=True, run=False)

    def exec(self, container, command=SHELL):
        made = self.prepare(container, command)
        terminal = Terminal(websocketclient.ExecClient(
            base.zun(), made['proxy_url'], made['exec_id'], container.uuid))
        self.addCleanup(terminal.client.ws.shutdown)
        return terminal

    def attach(self, container):
        terminal = Terminal(websocketclient.AttachClient(
            base.zun(), base.zun().containers.attach(container.uuid),
            container.uuid))
        self.addCleanup(terminal.client.ws.shutdown)
        return terminal

    def processes(self, container):
        return self.output(container, 'ps -o args')

    def test_exec(self):
        container = self.run_container()
        shell = self.exec(container)
        shell.until('$ ')
        shell.client.tty_resize(33, 77)
        shell.type('stty size\r')
        shell.until('33 77\r\n')
        shell.type(r"printf '\342\202'; sleep 0.1; printf '\254 \377<\n'" '\r')
        shell.until('€ \ufffd<')
        shell.type('sleep 1001\r')
        base.wait_until('sleep', lambda: 'sleep 1001' in self.processes(
            container))
        shell.type('\x03')
        shell.type('echo $((6*7))\r')
        shell.until('\n42\r\n')
        shell.type('exit\r')
        shell.end()
        self.assertNotIn('sh', self.processes(container).split())

    def test_paste(self):
        container = self.run_container()
        terminal = self.exec(
            container, f"sh -c 'stty raw -echo; echo ready; head -c {PASTE}"
            " | md5sum'")
        terminal.until('ready')
        paste = os.urandom(PASTE // 2).hex()
        sending = threading.Thread(target=self.send, args=(terminal, paste))
        sending.start()
        shown = terminal.end()
        sending.join()
        self.assertIn(hashlib.md5(paste.encode()).hexdigest(), shown)

    def send(self, terminal, text):
        for start in range(0, len(text), 1024):  # as zunclient reads
            terminal.type(text[start:start + 1024])

    def test_ten_at_once(self):
        container = self.run_container()
        shells = [self.exec(container) for _ in range(10)]
        for number, shell in enumerate(shells):
            shell.type(f'echo $(({number} + 1110))\r')
        for number, shell in enumerate(shells):
            shell.until(f'\n{number + 1110}\r\n')

    def test_users_who_leave(self):
        container = self.run_container()
        gone, detached = self.exec(container), self.exec(container)
        for number, shell in enumerate((gone, detached)):
            shell.until('$ ')
            shell.type(f'sleep 100{number}\r')
        base.wait_until('both sleep', lambda: self.processes(
            container).count('sleep 100') == 2)
        gone.client.ws.shutdown()
        detached.type('\x10\x11')
        detached.end()
        base.wait_until('one has ended', lambda: 'sleep 1000' not in
                        self.processes(container))
        self.assertIn('sleep 1001', self.processes(container))

    def test_attach(self):
        container = self.run_container(
            ['env', 'TERM=dumb', 'PS1=$ ', 'sh'], interactive=True)
        first = self.attach(container)
        first.client.tty_resize(21, 42)
        first.type('stty size\r')
        first.until('21 42\r\n')
        first.type('A=kept\r')
        first.type('\x10\x11')
        first.end()
        second = self.attach(container)
        second.type('echo $A$A\r')
        second.until('keptkept\r\n')
        third = self.attach(container)
        third.type('\r')  # its connection is complete when this arrives
        third.until('$ ')
        second.type('echo $((5*5))\r')
        for terminal in (second, third):
            terminal.until('\n25\r\n')
        third.client.ws.shutdown()
        second.type('exit\r')
        second.end()
        self.wait_status(container, 'Stopped')

    def test_what_cannot_be(self):
        container = self.run_container()
        self.assertRaises(zun_exc.HttpError, base.zun().containers.attach,
                          container.uuid)  # not interactive
        self.assertIn('no-such: command not found',
                      self.exec(container, 'no-such').end())
        made = self.prepare(container)
        for _ in range(2):
            terminal = Terminal(websocketclient.ExecClient(
                base.zun(), made['proxy_url'], made['exec_id'],
                container.uuid))
            terminal.type('exit\r')
            shown = terminal.end()
        self.assertIn('does not exist, or no longer', shown)
        base.zun().containers.stop(container.uuid, 0)
        self.wait_status(container, 'Stopped')
        self.assertRaises(zun_exc.Conflict, self.prepare, container)

    def test_the_whole_client(self):
        """In a terminal of its own, whose size it passes on."""
        container = self.run_container()
        made = self.prepare(container)
        pid, terminal = pty.fork()
        if not pid:
            try:
                fcntl.ioctl(sys.stdout.fileno(), termios.TIOCSWINSZ,
                            struct.pack('HHHH', 27, 91, 0, 0))
                websocketclient.do_exec(
                    base.zun(), made['proxy_url'], container.uuid,
                    made['exec_id'], '~', 0.5)
            finally:
                os._exit(0)
        self.addCleanup(os.close, terminal)
        shown = b''

        def until(wanted):
            nonlocal shown
            deadline = time.monotonic() + base.SECONDS
            while wanted not in shown and time.monotonic() < deadline:
                if select.select([terminal], [], [], 1)[0]:
                    shown += os.read(terminal, 65536)
            self.assertIn(wanted, shown)

        until(b'$ ')
        os.write(terminal, b'stty size\r')
        until(b'27 91\r\n')
        os.write(terminal, b'exit\r')
        self.assertEqual((pid, 0), os.waitpid(pid, 0))


class ConsoleAloneTest(base.AloneTestCase):

    def test_a_restart_of_kata_compute(self):
        """All terminals end, and their users see why."""
        before = self.look()
        container = self.run_container()
        made = base.zun().containers.execute(
            container.uuid, command=SHELL, interactive=True, run=False)
        shell = Terminal(websocketclient.ExecClient(
            base.zun(), made['proxy_url'], made['exec_id'], container.uuid))
        shell.until('$ ')
        waiting = base.zun().containers.execute(
            container.uuid, command=SHELL, interactive=True, run=False)
        base.services.stop(base.stack(), [base.services.by_name(
            base.stack(), 'kata-compute')])
        self.assertIn('kata-compute is stopping', shell.end())
        self.start_service('kata-compute')
        late = Terminal(websocketclient.ExecClient(
            base.zun(), waiting['proxy_url'], waiting['exec_id'],
            container.uuid))
        self.assertIn('does not exist, or no longer', late.end())
        self.assertNotIn("sh", self.output(container, 'ps -o args').split())
        self.remove(container.uuid)
        self.assert_nothing_left(before)
