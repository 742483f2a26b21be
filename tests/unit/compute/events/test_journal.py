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

"""What has been told."""

import json
import pathlib

from tests.unit import base

from kata_openstack.compute.events import journal


class JournalTest(base.TestCase):

    def test_kept(self):
        path = pathlib.Path(self.create_tempfiles(
            [('journal', '{}')], ext='.json')[0])
        one = journal.Journal(path)
        self.assertFalse(one.fresh)
        one['c'] = journal.Entry(sandbox=False, labels={'a': 'b'},
                                 phase=journal.STARTED)
        one.save()
        self.assertEqual(one, journal.Journal(path))

    def test_unreadable(self):
        for text in ('{', '[]', '{"c": {"nonsense": 1}}', '{"c": 1}'):
            path = pathlib.Path(self.create_tempfiles(
                [('journal', text)], ext='.json')[0])
            found = journal.Journal(path)
            self.assertEqual({}, found)
            self.assertTrue(found.fresh)
            found.save()
            self.assertEqual({}, json.loads(path.read_text()))
