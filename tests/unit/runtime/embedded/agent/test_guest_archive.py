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
import select
import subprocess
from unittest import mock

from kata_openstack.runtime.embedded.agent import guest_archive
from kata_openstack.runtime.embedded.agent import process
from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime.embedded.image import guest_image
from tests.unit import base

MOUNTINFO = rb"""22 1 0:21 / / rw,relatime - virtiofs share rw
23 22 0:22 / /proc rw,nosuid - proc proc rw
24 22 0:21 /x /with\040space\134 rw shared:1 master:2 - virtiofs share rw
25 23 0:22 /sys /proc/sys ro - proc proc rw
26 22 0:300 / /dev/shm rw - tmpfs shm rw
"""


class TestMounts(base.TestCase):

    def test_mounts(self):
        self.assertEqual(
            ([b'/proc', b'/with space\\', b'/proc/sys', b'/dev/shm'],
             {os.makedev(0, 22)}), guest_archive.mounts(MOUNTINFO))


class TestImage(base.TestCase):

    def test_the_child_finds_its_modules(self):
        files = guest_image._run_python(guest_image._LIST_FILES)
        for name in ('archives/work.py', 'archives/tar_source.py', '/lzma.py',
                     '/bz2.py'):
            self.assertIn(name, files)

    def test_the_agent_itself_loads_none_of_them(self):
        """An idle guest needs no memory for copies."""
        loaded = subprocess.run(
            [guest_image.PYTHON, '-ISc', 'import sys; sys.path.insert(0, '
             f'{str(guest_image._PACKAGE)!r}); import {guest_image._AGENT}; '
             'print(*sys.modules)'], capture_output=True, text=True,
            check=True).stdout.split()
        self.assertIn('kata_openstack.runtime.embedded.agent.guest_archive',
                      loaded)
        for name in ('kata_openstack.runtime.archives', 'lzma', 'bz2',
                     'tarfile'):
            self.assertNotIn(name, loaded)


class TestFork(base.TestCase):
    """A forked child has its own streams, and none of the agent's files."""

    def setUp(self):
        super().setUp()
        self.sent = []
        self.events = mock.Mock(send=lambda kind, ident, payload=b'':
                                self.sent.append((kind, payload)))

    def run_child(self, program, data=None):
        child = process.Process(self.events, 5, 'c', '', False, False)
        child.fork(program, data is not None)
        if data is not None:
            child.feed(data)
            child.end_stdin()
        _, status = os.waitpid(child.pid, 0)
        child.ended(status, False)
        return {kind: b''.join(p for k, p in self.sent if k == kind)
                for kind, _ in self.sent}

    def test_streams(self):
        def program():
            os.write(1, b'got ' + os.read(0, 100))
            os.write(2, b'told')
            os._exit(3)
        sent = self.run_child(program, b'words')
        self.assertEqual((b'got words', b'told'), (sent[protocol.STDOUT],
                                                   sent[protocol.STDERR]))
        self.assertEqual(protocol.STATUS.pack(3, 0), sent[protocol.EXIT])

    def test_it_never_returns(self):
        for error in (ValueError, SystemExit):
            def program(error=error):
                os.close(2)  # no traceback
                raise error
            sent = self.run_child(program)
            self.assertEqual(protocol.STATUS.pack(1, 0), sent[protocol.EXIT])
            self.sent.clear()

    def test_a_container_that_has_ended(self):
        gone, writer = os.pipe()
        os.set_inheritable(writer, True)
        sent = self.run_child(lambda: guest_archive.run(
            1 << 22, {'put': False, 'path': '/', 'limit': 1}))
        self.assertIn(b'entering the container', sent[protocol.STDERR])
        # only the parent has it
        os.close(writer)
        self.assertEqual(([gone], [], []), select.select([gone], [], [], 0))
        os.close(gone)
