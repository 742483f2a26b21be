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

"""Terminals, from zun-api to what zun-wsproxy opens."""

from typing import Any
from unittest import mock
from urllib import parse

from zun.common import exception as zun_exc
import zun.conf
from zun.websocket import websocketproxy

from kata_openstack.compute.console import sessions
from tests.unit.compute.console import served
from tests.unit.contract import base


def token_of(url: str) -> str:
    return parse.parse_qs(parse.urlsplit(url).query)['token'][0]


class Proxy(websocketproxy.ZunProxyRequestHandlerBase):
    """Zun's handler of one user, whose browser or client is the test.

    It does with the terminal what ``use`` does.
    """

    def __init__(self, use: Any) -> None:
        self.use = use
        self.headers = {'Host': 'wsproxy.test'}
        self.server = mock.Mock(heartbeat=0)

    def vmsg(self, *args: Any) -> None:
        pass

    def do_proxy(self, target: Any) -> None:
        target.settimeout(10)
        self.use(target)

    def do_websocket_proxy(self, target: Any) -> None:
        target.settimeout(10)
        self.use(target)


class TestConsole(base.ContractTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(zun.conf.CONF.clear_override,
                        'docker_remote_api_url', 'docker')
        self.served = self.useFixture(served.Served())
        self.record = self.create(interactive=True, tty=True)
        url = f'http://127.0.0.1:{self.served.port}'
        self._replace(self.api, 'create_exec', self._create_exec(url))
        self._replace(self.api, 'attach_container', lambda *_: {
            'url': url.replace('http', 'ws') + '/attach?token='
            + self.served.session(sessions.ATTACH)})

    def _create_exec(self, url: str) -> Any:
        def create_exec(ctxt: Any, host: str, uuid: str, command: list[str],
                        interactive: bool) -> dict[str, str]:
            self.command = command
            return {'url': url, 'exec_id': self.served.session(
                sessions.EXEC, terminal=interactive)}
        return create_exec

    def execute(self, interactive: bool) -> dict[str, Any]:
        return self.zun.container_exec(
            self.context, self.record, "sh -c 'a b'", False, interactive)

    def open_exec(self, made: dict[str, Any], use: Any) -> None:
        Proxy(use)._new_exec_client(
            self.reload(self.record), token_of(made['proxy_url']),
            self.record.uuid, made['exec_id'])

    def test_exec(self) -> None:
        for interactive in (True, False):
            made = self.execute(interactive)
            self.assertEqual(['sh', '-c', 'a b'], self.command)
            self.assertIsNone(made['output'])
            number = len(self.served.processes)

            def use(target: Any, number: int = number) -> None:
                process = self.served.process(number)
                process.says('prompt €'.encode())
                self.assertEqual('prompt €', target.recv(65536).decode())
                target.sendall(b'ls\r')
                self.assertTrue(served.until(
                    lambda: process.written == b'ls\r'))
                process.says(b'')
                self.assertEqual(b'', target.recv(65536))

            self.open_exec(made, use)
            self.assertEqual(number + 1, len(self.served.processes))

    def test_exec_once(self) -> None:
        made = self.execute(True)
        self.open_exec(made, lambda target: None)
        self.open_exec(made, lambda target: self.assertIn(
            b'does not exist, or no longer', target.recv(65536)))
        self.assertRaises(zun_exc.InvalidWebsocketToken, self.open_exec,
                          {**made, 'proxy_url': 'ws://x/?token=x'}, None)

    def test_a_command_that_is_run(self) -> None:
        self.assertEqual(
            {'output': 'sh -c a b', 'exit_code': 3, 'exec_id': None,
             'proxy_url': None}, self.zun.container_exec(
                 self.context, self.record, "sh -c 'a b'", True, False))

    def test_attach(self) -> None:
        token = token_of(self.zun.container_attach(self.context, self.record))
        record = self.reload(self.record)
        self.assertLessEqual(len(record.websocket_url), 255)

        def use(target: Any) -> None:
            process = self.served.process()
            process.says(b'hello')
            self.assertEqual(b'hello', target.recv())
            # as zun-wsproxy passes on what it gets, which may be no text
            target.send(b'a\xff\r')
            self.assertTrue(served.until(
                lambda: process.written == b'a\xff\r'))
            process.says(b'')
            self.assertFalse(target.recv())

        Proxy(use)._new_websocket_client(record, token, record.uuid)
        self.assertEqual(1, len(self.served.processes))

    def test_attach_to_what_has_no_terminal_any_more(self) -> None:
        token = token_of(self.zun.container_attach(self.context, self.record))
        record = self.reload(self.record)
        record.websocket_url = record.websocket_url[:-64] + '0' * 64

        def use(target: Any) -> None:
            self.assertIn(b'does not exist, or no longer', target.recv())

        Proxy(use)._new_websocket_client(record, token, record.uuid)

    def test_sizes(self) -> None:
        self.zun.container_resize(self.context, self.record, '24', '80')
        self.assertEqual(('resize_terminal', base.HOST, self.record.uuid,
                          24, 80), self.api.calls[-1])
        self.zun.container_exec_resize(self.context, self.record, 'e0' * 32,
                                       '25', '81')
        self.assertEqual(('resize_exec', base.HOST, 'e0' * 32, 25, 81),
                         self.api.calls[-1])
