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

import os
import tempfile

from kata_openstack.runtime.embedded.virtiofs import server
from tests.unit import base


class TestConnection(base.TestCase):
    def test_no_other_process_can_be_the_first_client(self):
        with tempfile.TemporaryDirectory() as parent:
            folder = f'{parent}/{"long" * 40}'
            os.mkdir(folder)
            listener, connection = server.connected(folder)
            with listener, connection:
                self.assertEqual([], os.listdir(folder))
                listener.settimeout(0)
                first = listener.accept()[0]
                with first:
                    connection.send(b'ours')
                    self.assertEqual(b'ours', first.recv(10))
                self.assertRaises(BlockingIOError, listener.accept)
                # an abstract name would show here
                self.assertFalse(connection.getpeername().startswith('\0'))
