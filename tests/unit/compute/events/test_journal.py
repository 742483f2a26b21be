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

"""The journal of reported events."""

import json
import pathlib
from unittest import mock

import fixtures
from tests.unit import base

from kata_openstack.compute.events import journal
from kata_openstack.compute.pods import labels

LABELS = {labels.POD: 'p', labels.CONTAINER: 'c'}


class JournalTest(base.TestCase):

    def test_kept(self):
        path = pathlib.Path(self.create_tempfiles(
            [('journal', '{}')], ext='.json')[0])
        one = journal.Journal(path)
        self.assertFalse(one.fresh)
        one['c'] = journal.Entry(sandbox=False, labels=LABELS,
                                 phase=journal.STARTED)
        one.save()
        self.assertEqual(one, journal.Journal(path))

    def test_written_only_after_a_change(self):
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path) / 'j'
        one = journal.Journal(path)
        with mock.patch.object(journal.json_file, 'replace',
                               side_effect=journal.json_file.replace
                               ) as replace:
            one.save()
            one.save()
            self.assertEqual(1, replace.call_count)
            one['c'] = journal.Entry(sandbox=False, labels=LABELS)
            one.save()
            one['c'].phase = journal.STARTED
            one.save()
            one.save()
            self.assertEqual(3, replace.call_count)
            replace.side_effect = OSError('injected')
            one['c'].phase = journal.EXITED
            one.save()
            one.save()  # a failure is no success
            self.assertEqual(5, replace.call_count)

    def test_written_only_after_the_notifications(self):
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path) / 'j'
        waiting = []
        one = journal.Journal(path, waiting.append)

        def phases():
            return [entry.phase for entry in journal.Journal(path).values()]
        one['c'] = journal.Entry(sandbox=False, labels=LABELS)
        one.save()
        self.assertFalse(one.fresh)  # what follows is news
        for phase in (journal.STARTED, journal.EXITED):
            one['c'].phase = phase
            one.save()
        self.assertFalse(path.exists())
        self.assertEqual(1, len(waiting))  # however long the broker is away
        waiting.pop()()
        self.assertEqual([journal.CREATED], phases())
        # the others were told after this one was asked for
        waiting.pop()()
        self.assertEqual([journal.EXITED], phases())
        self.assertEqual([], waiting)

    def test_unreadable(self):
        for text in ('{', '[]', '{"c": {"nonsense": 1}}', '{"c": 1}'):
            path = pathlib.Path(self.create_tempfiles(
                [('journal', text)], ext='.json')[0])
            found = journal.Journal(path)
            self.assertEqual({}, found)
            self.assertTrue(found.fresh)
            found.save()
            self.assertEqual({}, json.loads(path.read_text()))

    def test_entries_of_other_releases(self):
        path = pathlib.Path(self.create_tempfiles([('journal', json.dumps({
            'newer': {'sandbox': False, 'labels': LABELS, 'image': 'i',
                      'phase': 'started', 'oom': True, 'new': 1},
            'older': {'sandbox': True, 'labels': {labels.POD: 'p'}},
            **{f'broken{number}': fields for number, fields in enumerate((
                None, {}, {'sandbox': True, 'labels': {}},
                {'sandbox': False, 'labels': {labels.POD: 'p'}},
                {'sandbox': True, 'labels': {labels.POD: None}},
                {'sandbox': False, 'labels': LABELS, 'phase': 'paused'}))}
        }))], ext='.json')[0])
        found = journal.Journal(path)
        self.assertEqual({
            'newer': journal.Entry(sandbox=False, labels=LABELS, image='i',
                                   phase=journal.STARTED, oom=True),
            'older': journal.Entry(sandbox=True,
                                   labels={labels.POD: 'p'})}, found)
        self.assertFalse(found.fresh)
