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

"""Files that cannot be read."""

import pathlib

import fixtures

from kata_openstack.runtime.host import roots as host_roots
from tests.unit import base
from tests.unit.runtime.host import hosts


class TestUnreadable(base.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())

    def test_one_line_and_the_rest_goes_on(self):
        record = hosts.recorded(self)
        path = record.root / 'proc/meminfo'
        path.mkdir()  # a folder, because root can read any file
        for _ in range(2):
            host = record.probe()
            self.assertEqual((f'{path} cannot be read: is a directory',),
                             host.unreadable)
        self.assertEqual('hardware', host.kvm.state)
        self.assertEqual(1, self.log.output.count('meminfo'))
        self.assertIn('unreadable', [f.name for f in host.findings()])

    def test_what_is_not_there_is_no_complaint(self):
        roots = host_roots.Roots()
        self.assertEqual('', roots.read(pathlib.Path('/no/such/file')))
        self.assertEqual([], roots.names(pathlib.Path('/no/such/folder')))
        self.assertEqual([], roots.unreadable)
