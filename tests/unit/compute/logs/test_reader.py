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

import pathlib

import fixtures
from tests.unit import base

from kata_openstack.compute.logs import reader

LOG = '''\
2026-11-23T03:00:00.100000000Z stdout F one
2026-11-23T03:00:01.200000000Z stderr F oops
2026-11-23T03:00:02.000000000Z stdout P tw
2026-11-23T03:00:02.100000000Z stderr P par
2026-11-23T03:00:02.200000000Z stdout F o
not a record
2026-11-23T03:00:03.000000000Z stderr F tial
2026-11-23T03:00:04.000000000Z stdout F 
2026-11-23T03:00:05.000000000Z stdout P open end
'''
AT_2 = 1795402802.0  # 03:00:02


class LogsTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path) / 'log'
        self.path.write_text(LOG)

    def test_all(self):
        self.assertEqual('one\noops\ntwo\npartial\n\nopen end',
                         reader.read(self.path))

    def test_streams(self):
        self.assertEqual('one\ntwo\n\nopen end',
                         reader.read(self.path, stderr=False))
        self.assertEqual('oops\npartial\n',
                         reader.read(self.path, stdout=False))
        self.assertEqual('', reader.read(self.path, stdout=False,
                                       stderr=False))

    def test_tail(self):
        self.assertEqual('\nopen end', reader.read(self.path, tail=2))
        self.assertEqual('oops\npartial\n',
                         reader.read(self.path, tail=9, stdout=False))
        self.assertEqual('', reader.read(self.path, tail=0))

    def test_timestamps(self):
        self.assertEqual(
            '2026-11-23T03:00:01.200000000Z oops\n'
            '2026-11-23T03:00:02.100000000Z partial\n',
            reader.read(self.path, stdout=False, timestamps=True))

    def test_since(self):
        self.assertEqual('two\npartial\n\nopen end',
                         reader.read(self.path, since=AT_2))
        self.assertEqual('\nopen end',
                         reader.read(self.path, since=AT_2 + 1.5))
        self.assertEqual('', reader.read(self.path, since=AT_2 + 100))

    def test_since_with_other_forms_of_time(self):
        self.path.write_text(
            '2026-11-23T04:00:02.5+01:00 stdout F late\n'
            '2026-11-23T03:00:02.5Z stdout F short\n'
            'nonsense stdout F never\n')
        self.assertEqual('late\nshort\n',
                         reader.read(self.path, since=AT_2 + 0.4))
        self.assertEqual('', reader.read(self.path, since=AT_2 + 0.6))

    def test_limit_cuts_at_a_line(self):
        self.assertEqual('\nopen end',
                         reader.read(self.path, limit=len(LOG) // 4))

    def test_what_was_set_aside_goes_before(self):
        lines = LOG.splitlines(keepends=True)
        # the cut is in the middle of a line of stdout
        reader.older(self.path).write_text(''.join(lines[:3]))
        self.path.write_text(''.join(lines[3:]))
        self.assertEqual('one\noops\ntwo\npartial\n\nopen end',
                         reader.read(self.path))
        self.assertEqual('\nopen end', reader.read(self.path, tail=2))
        self.assertEqual('\nopen end',
                         reader.read(self.path, limit=len(LOG) // 4))
        # the new file does not exist yet
        self.path.unlink()
        self.assertEqual('one\noops\ntw', reader.read(self.path))

    def test_no_file(self):
        self.assertEqual('', reader.read(self.path.with_name('none')))

    def test_carriage_returns_and_bad_bytes_are_the_programs(self):
        self.path.write_bytes(
            b'2026-11-23T03:00:00.1Z stdout F 50%\r100%\r\n'
            b'2026-11-23T03:00:00.1Z stdout F \xff\n')
        self.assertEqual('50%\r100%\r\n\ufffd\n', reader.read(self.path))
