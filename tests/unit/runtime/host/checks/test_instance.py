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

"""The instance's metadata."""

import http.server
import socket
import threading

import fixtures

from kata_openstack.runtime.host.checks import instance
from tests.unit.runtime.host.checks import base
from tests.unit.runtime.host import hosts


class TestInstance(base.CheckTestCase):
    def test_metadata_is_asked_only_on_request(self):
        record = hosts.recorded(self, flags='hypervisor')
        self.assertFalse(record.probe().instance.nova)
        found = record.probe(metadata=lambda: True).instance
        self.assertEqual('metadata', found.told_by)

    def test_bare_metal_does_not_ask(self):
        hosts.recorded(self).probe(metadata=self.fail)

    def test_ask_metadata(self):
        with http.server.HTTPServer(('127.0.0.1', 0), Answer) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            self.useFixture(fixtures.MockPatchObject(
                instance, '_METADATA',
                f'http://127.0.0.1:{server.server_port}/openstack'))
            self.assertTrue(instance.ask_metadata())
            thread.join()
        self.assertFalse(instance.ask_metadata())  # no server now

    def test_ask_metadata_of_what_is_not_http(self):
        for line in (b'SSH-2.0-OpenSSH_9.2\r\n', b'HTTP/1.1 x\r\n',
                     b'HTTP/9 200 OK\r\n\r\n'):
            with (self.subTest(line),
                  socket.create_server(('127.0.0.1', 0)) as server):
                thread = threading.Thread(target=answer, args=(server, line))
                thread.start()
                self.useFixture(fixtures.MockPatchObject(
                    instance, '_METADATA',
                    f'http://127.0.0.1:{server.getsockname()[1]}/'))
                self.assertFalse(instance.ask_metadata())
                thread.join()


def answer(server, line):
    """Accept one client, read its request and send the line."""
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(line)


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass
