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

import json
import logging
import os
import socket
import ssl
import subprocess
import time
from unittest import mock

import docker.errors
import fixtures
from tests.unit import base
from tests.unit.compute.console import served
import websocket

from kata_openstack.compute.console import relay
from kata_openstack.compute.console import server
from kata_openstack.compute.console import sessions
from kata_openstack import exception


class ExecTest(base.TestCase):
    """docker-py is the client, as in zun-wsproxy."""

    def setUp(self):
        super().setUp()
        self.served = self.useFixture(served.Served())

    def test_both_ways(self):
        connection = self.served.exec()
        process = self.served.process()
        process.says(b'/ # ')
        self.assertEqual(b'/ # ', connection.recv(100))
        connection.sendall(b'ls\xff\r')
        self.assertTrue(served.until(lambda: process.written == b'ls\xff\r'))
        process.says(b'bye', b'')
        self.assertEqual(b'bye', served.read(connection, 100))
        self.assertTrue(served.until(lambda: process.ended == 'close'))

    def test_the_first_output_is_not_lost(self):
        """docker-py drops what its read of the answer has taken."""
        self.served.said = [b'hello', b'']
        connection = socket.create_connection(
            ('127.0.0.1', self.served.port), 10)
        self.addCleanup(connection.close)
        connection.sendall(
            f'POST /exec/{self.served.session(sessions.EXEC)}/start HTTP/1.1'
            '\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n'
            .encode())
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += connection.recv(1000)
        connection.settimeout(0.1)
        self.assertRaises(TimeoutError, connection.recv, 100)
        connection.settimeout(10)
        self.assertEqual(b'hello', served.read(connection, 100))

    def test_ten_at_once_on_one_container(self):
        connections = [self.served.exec() for _ in range(10)]
        self.served.process(9)
        for number, process in enumerate(self.served.processes):
            process.says(str(number).encode())
        self.assertEqual(
            list('0123456789'),
            [c.recv(10).decode() for c in connections])

    def test_used_unknown_or_of_the_other_kind(self):
        secret = self.served.session(sessions.EXEC)
        self.served.exec(secret)
        for wrong in (secret, '0' * 64,
                      self.served.session(sessions.ATTACH)):
            self.assertIn(b'does not exist, or no longer', served.read(
                self.served.exec(wrong), 1000))
        self.assertEqual(1, len(self.served.processes))

    def test_malformed_id(self):
        self.assertRaises(docker.errors.NotFound, self.served.exec, '0' * 63)

    def test_a_start_that_fails(self):
        self.served.error = exception.KataError('nope: command not found')
        secret = self.served.session(sessions.EXEC)
        self.assertIn(b'nope: command not found',
                      served.read(self.served.exec(secret), 1000))
        self.assertTrue(served.until(
            lambda: self.served.sessions.find(secret) is None))

    def test_a_fault_of_the_node(self):
        """The user learns that there is one, the operator which."""
        log = self.useFixture(fixtures.FakeLogger())
        self.served.error = OSError(28, 'No space left', '/run/secret')
        secret = self.served.session(sessions.EXEC)
        said = served.read(self.served.exec(secret), 1000)
        self.assertIn(b'fault of the node', said)
        self.assertNotIn(b'secret', said)
        self.assertIn("container c did not open: [Errno 28] No space left: "
                      "'/run/secret'", log.output)
        self.assertTrue(served.until(
            lambda: self.served.sessions.find(secret) is None))

    def test_vanished_user(self):
        connection = self.served.exec()
        process = self.served.process()
        connection.shutdown(socket.SHUT_RDWR)
        self.assertTrue(served.until(lambda: process.ended == 'abandon'))

    def test_detach(self):
        connection = self.served.exec()
        process = self.served.process()
        connection.sendall(b'last\x10')
        connection.sendall(b'\x11')
        self.assertEqual(b'', served.read(connection, 1))
        self.assertTrue(served.until(lambda: process.ended == 'finish'))
        self.assertEqual(b'last', process.written)

    def test_who_has_detached_holds_no_session(self):
        for number in range(40):  # a container has 32
            connection = self.served.exec()
            process = self.served.process(number)
            connection.sendall(b'\x10\x11')
            self.assertEqual(b'', served.read(connection, 1000))
            self.assertTrue(served.until(lambda p=process: p.ended))
        self.assertEqual({'finish'}, {
            p.ended for p in self.served.processes})
        self.assertEqual({}, self.served.sessions._open)

    def test_a_detach_too_many(self):
        connection = self.served.exec()
        process = self.served.process()
        process.may_detach = False
        connection.sendall(b'\x10\x11')
        self.assertTrue(served.until(lambda: process.ended == 'abandon'))

    def test_without_a_terminal_all_keys_pass(self):
        connection = self.served.exec(terminal=False)
        process = self.served.process()
        connection.sendall(b'\x10\x11')
        self.assertTrue(served.until(lambda: process.written == b'\x10\x11'))

    def test_input_just_before_the_user_leaves(self):
        connection = self.served.exec()
        process = self.served.process()
        connection.sendall(b'x' * 100000)
        connection.shutdown(socket.SHUT_RDWR)
        self.assertTrue(served.until(lambda: process.ended))
        self.assertEqual(100000, len(process.written))

    def test_a_paste_arrives_whole(self):
        """Also while the process neither reads nor is read from."""
        connection = self.served.exec()
        process = self.served.process()
        process.deaf = True
        paste = os.urandom(500000).hex().encode()
        connection.sendall(paste)
        process.deaf = False
        self.assertTrue(served.until(
            lambda: len(process.written) == len(paste)))
        self.assertEqual(paste, process.written)

    def test_a_user_who_does_not_read(self):
        connection = self.served.exec()
        process = self.served.process()
        for _ in range(4000):  # 64 MB
            process.says(b'x' * 16000)
        before = -1
        while process.given != before:
            before = process.given
            time.sleep(0.5)
        # mostly in the kernel's buffers
        self.assertLess(process.given, 8 * 1024 * 1024)
        self.assertGreater(process.given, 16000)
        self.assertEqual(16000 * 4000, len(served.read(
            connection, 16000 * 4000)))

    def test_input_has_a_limit(self):
        connection = self.served.exec()
        process = self.served.process()
        process.deaf = True
        connection.settimeout(1)
        sent = 0
        with self.assertRaises(TimeoutError):
            while sent < 64 * 1024 * 1024:
                sent += connection.send(b'x' * 65536)
        self.assertGreater(sent, 1024 * 1024)
        self.assertLess(sent, 8 * 1024 * 1024)
        process.deaf = False

    def test_characters_are_not_split(self):
        connection = self.served.exec()
        process = self.served.process()
        process.says('a€'.encode()[:2])
        self.assertEqual(b'a', connection.recv(100))
        process.says('€b'.encode()[1:])
        self.assertEqual('€b', connection.recv(100).decode())
        process.says(b'\xe2')  # the rest never comes
        self.assertEqual('\ufffd', connection.recv(100).decode())

    def test_a_server_that_stops(self):
        connection = self.served.exec()
        process = self.served.process()
        self.served.stop()
        self.assertIn(b'kata-compute is stopping',
                      served.read(connection, 1000))
        self.assertTrue(served.until(lambda: process.ended == 'abandon'))

    def test_too_many_of_a_project(self):
        self.served.sessions._most = 2
        self.served.exec()
        self.served.process()
        self.assertIn(b'too many terminals',
                      served.read(self.served.exec(), 1000))

    def test_nothing_secret_in_the_log(self):
        log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        secret = self.served.session(sessions.EXEC)
        connection = self.served.exec(secret)
        connection.sendall(b'password')
        connection.shutdown(socket.SHUT_RDWR)
        self.assertTrue(served.until(
            lambda: 'the user has gone' in log.output))
        for line in log.output.splitlines():
            if 'console' in line:
                self.assertNotIn(secret, line)
                self.assertNotIn('password', line)


class AttachTest(base.TestCase):
    """websocket-client is the client, as in zun-wsproxy."""

    def setUp(self):
        super().setUp()
        self.served = self.useFixture(served.Served())

    def test_both_ways(self):
        connection = self.served.attach()
        process = self.served.process()
        process.says(b'prompt')
        self.assertEqual((websocket.ABNF.OPCODE_BINARY, b'prompt'),
                         connection.recv_data())
        # zun-wsproxy sends what it gets as text, whatever it is
        connection.sock.sendall(websocket.ABNF.create_frame(
            b'\xff\xfels\r', websocket.ABNF.OPCODE_TEXT).format())
        self.assertTrue(served.until(
            lambda: process.written == b'\xff\xfels\r'))
        process.says(b'')
        self.assertEqual(websocket.ABNF.OPCODE_CLOSE,
                         connection.recv_data()[0])
        self.assertTrue(served.until(lambda: process.ended == 'close'))

    def test_ping_and_fragments(self):
        connection = self.served.attach()
        connection.ping(b'1')
        self.assertEqual((websocket.ABNF.OPCODE_PONG, b'1'),
                         connection.recv_data(control_frame=True))
        connection.send_frame(websocket.ABNF.create_frame(
            b'a', websocket.ABNF.OPCODE_BINARY, 0))
        connection.ping(b'2')
        connection.send_frame(websocket.ABNF.create_frame(
            b'b', websocket.ABNF.OPCODE_CONT, 1))
        process = self.served.process()
        self.assertTrue(served.until(lambda: process.written == b'ab'))

    def test_a_large_message(self):
        connection = self.served.attach()
        connection.send_binary(b'x' * 1024 * 1024)
        process = self.served.process()
        self.assertTrue(served.until(
            lambda: len(process.written) == 1024 * 1024))

    def test_characters_are_not_split(self):
        connection = self.served.attach()
        shown = 'a' + '€' * 20000
        data = shown.encode() + b'\xff' * 20000
        process = self.served.process()
        process.says(*(data[i:i + 16000] for i in range(0, len(data), 16000)),
                     b'')
        seen = ''
        while (frame := connection.recv_data())[0] != (
                websocket.ABNF.OPCODE_CLOSE):
            self.assertLessEqual(len(frame[1]), 16 * 1024)
            seen += frame[1].decode()
        self.assertEqual(shown + '\ufffd' * 20000, seen)

    def test_leave_and_come_back(self):
        secret = self.served.session(sessions.ATTACH)
        first = self.served.attach(secret)
        second = self.served.attach(secret)
        self.served.process(1)
        first.shutdown()
        self.assertTrue(served.until(
            lambda: self.served.processes[0].ended == 'abandon'))
        self.assertEqual('', self.served.processes[1].ended)
        second.close()
        self.served.attach(secret)
        self.assertEqual('', self.served.process(2).ended)

    def test_unknown(self):
        for secret in ('0' * 64, 'x', self.served.session(sessions.EXEC)):
            connection = self.served.attach(secret)
            self.assertIn(b'does not exist, or no longer', connection.recv())
        self.assertEqual([], self.served.processes)

    def test_a_user_who_does_not_read(self):
        """The container waits with its output, but not for ever."""
        with mock.patch.object(server, '_PATIENCE', 0.5):
            self.served.attach()
            process = self.served.process()
            for _ in range(1000):
                process.says(b'x' * 16000)
            self.assertTrue(served.until(lambda: process.ended == 'abandon'))
        self.assertLess(process.given, 16000 * 1000)


class HostileTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.served = self.useFixture(served.Served())

    def connect(self, data=b''):
        found = socket.create_connection(('127.0.0.1', self.served.port), 10)
        self.addCleanup(found.close)
        found.sendall(data)
        return found

    def test_bad_requests(self):
        secret = self.served.session(sessions.EXEC).encode()
        token = self.served.session(sessions.ATTACH).encode()
        start = b'POST /exec/' + secret + b'/start HTTP/1.1\r\nHost: a\r\n'
        upgrade = b'Connection: Upgrade\r\nUpgrade: tcp\r\n'
        attach = b'GET /attach?token=' + token + b' HTTP/1.1\r\nHost: a\r\n'
        for status, data in (
                (400, b'\x16\x03\x01\x02\x00\x01\x00'),
                (400, b'GET / HTTP/1.1\r\n\r\n'),
                (400, b'GET /' + b'x' * 20000 + b' HTTP/1.1\r\n'),
                (404, b'GET /containers/json HTTP/1.1\r\nHost: a\r\n\r\n'),
                (404, b'POST /attach?token=' + token
                 + b' HTTP/1.1\r\nHost: a\r\n\r\n'),
                (404, b'DELETE /exec/' + secret
                 + b'/start HTTP/1.1\r\nHost: a\r\n\r\n'),
                (400, attach + b'\r\n'), (400, start + b'\r\n'),
                (400, attach + upgrade + b'\r\n'),
                (400, start + upgrade + b'Content-Length: 5000\r\n\r\n'
                 + b'x' * 5000),
                (400, start + upgrade + b'Content-Length: 2\r\n\r\n[]'),
                (400, start + upgrade
                 + b'Content-Length: 15\r\n\r\n{"Detach":true}')):
            connection = self.connect(data)
            answer = connection.recv(4096)
            self.assertEqual(f'HTTP/1.1 {status} ',
                             answer[:13].decode(), (data, answer))
            self.assertNotIn(secret, answer)
            connection.close()
        self.assertEqual([], self.served.processes)
        # none of them has used the session
        self.served.exec(secret.decode())
        self.served.process()

    def test_several_requests_on_one_connection(self):
        connection = self.connect()
        for _ in range(3):
            connection.sendall(b'GET /version HTTP/1.1\r\nHost: a\r\n\r\n')
            _, _, body = connection.recv(4096).partition(b'\r\n\r\n')
            self.assertEqual('1.44', json.loads(body)['ApiVersion'])

    def test_slow_heads(self):
        with mock.patch.object(server, '_REQUEST', 0.5):
            connection = self.connect(b'GET /version')
            start = time.monotonic()
            self.assertEqual(b'', connection.recv(100))
            self.assertLess(time.monotonic() - start, 5)

    def test_many_silent_connections(self):
        """They cost no one who holds a secret the terminal."""
        secret = self.served.session(sessions.EXEC)
        used = self.served.exec()
        silent = [self.connect() for _ in range(100)]
        connection = self.served.exec(secret)
        self.served.process(1).says(b'hello')
        self.assertEqual(b'hello', connection.recv(100))
        self.served.process(0).says(b'still here')
        self.assertEqual(b'still here', used.recv(100))
        silent[0].settimeout(3)  # less than for the end of its head
        try:
            self.assertEqual(b'', silent[0].recv(1))
        except ConnectionResetError:
            pass

    def test_bad_frames(self):
        for number, frame in enumerate((
                b'\x82\x01a',  # not masked
                b'\xf2\x80\0\0\0\0', b'\x83\x80\0\0\0\0',
                b'\x89\xff' + b'\xff' * 12)):
            connection = self.served.attach()
            connection.sock.sendall(frame)
            process = self.served.process(number)
            self.assertTrue(served.until(lambda p=process: p.ended))

    def test_a_frame_of_any_length_costs_no_memory(self):
        connection = self.served.attach()
        connection.sock.sendall(
            b'\x82\xff' + (2 ** 62).to_bytes(8, 'big') + b'\0\0\0\0')
        for _ in range(100):
            connection.sock.sendall(b'x' * 65536)
        process = self.served.process()
        self.assertTrue(served.until(
            lambda: len(process.written) == 100 * 65536))


class TlsTest(base.TestCase):

    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
             'ec_paramgen_curve:P-256', '-nodes', '-keyout', f'{folder}/key',
             '-out', f'{folder}/cert', '-days', '2', '-subj', '/CN=localhost',
             '-addext', 'subjectAltName=DNS:localhost'],
            check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f'{folder}/cert', f'{folder}/key')
        self.cert = f'{folder}/cert'
        self.served = self.useFixture(served.Served(tls=context))

    def test_exec(self):
        self.useFixture(fixtures.EnvironmentVariable(
            'REQUESTS_CA_BUNDLE', self.cert))
        self.served.docker = docker.APIClient(
            base_url=f'https://localhost:{self.served.port}')
        self.addCleanup(self.served.docker.close)
        connection = self.served.exec()
        process = self.served.process()
        connection.sendall(b'x' * 1000000)
        self.assertTrue(served.until(
            lambda: len(process.written) == 1000000))
        process.says(b'hello', b'')
        self.assertEqual(b'hello', served.read(connection, 100))

    def test_attach(self):
        secret = self.served.session(sessions.ATTACH)
        connection = websocket.create_connection(
            f'wss://localhost:{self.served.port}/attach?token={secret}',
            sslopt={'ca_certs': self.cert}, timeout=10)
        self.addCleanup(connection.shutdown)
        process = self.served.process()
        process.says(b'\xff' * 60000)
        # zun-wsproxy waits with select(), so no frame may be left in the
        # buffer of the TLS connection
        left = 3 * 60000
        while left:
            left -= len(connection.recv())
            self.assertEqual(0, connection.sock.pending())

    def test_no_plain_text(self):
        found = socket.create_connection(('127.0.0.1', self.served.port), 10)
        self.addCleanup(found.close)
        found.sendall(b'GET /version HTTP/1.1\r\nHost: a\r\n\r\n')
        self.assertNotIn(b'ApiVersion', found.recv(1000))

    def test_clients_that_do_not_shake_hands(self):
        with mock.patch.object(server, '_REQUEST', 0.5):
            found = socket.create_connection(
                ('127.0.0.1', self.served.port), 10)
            self.addCleanup(found.close)
            self.assertEqual(b'', found.recv(100))


class LimitTest(base.TestCase):

    def test_a_paste_fits(self):
        self.assertGreaterEqual(relay._INPUT_MAX, 1024 * 1024)
