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

"""Helper processes and the attributes that they inherit."""

import os
import re
import tempfile
from unittest import mock

from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.vm import launch
from tests.unit import base


class TestLaunch(base.TestCase):
    def spawn(self, *argv, confine=lambda: None):
        """Run a program and return its output."""
        with tempfile.NamedTemporaryFile('r') as log:
            pid = launch.spawn(argv, fds=[], log=log.name, confine=confine)
            os.waitpid(pid, 0)
            return log.read()

    def test_no_core_file(self):
        limits = self.spawn('/bin/cat', '/proc/self/limits')
        line = next(line for line in limits.splitlines()
                    if line.startswith('Max core file size'))
        self.assertEqual(['0', '0'], line.split()[4:6])

    def test_it_is_not_protected_when_memory_runs_out(self):
        self.assertGreaterEqual(
            int(self.spawn('/bin/cat', launch._OOM_SCORE)), 0)

    def test_only_the_protection_of_its_parent_ends(self):
        # a file stands in for the kernel's: lowering a score is privileged
        for before, after in (('-999\n', '0'), ('0\n', '0\n'),
                              ('500\n', '500\n')):
            with tempfile.NamedTemporaryFile('r+') as score:
                score.write(before)
                score.flush()
                with mock.patch.object(launch, '_OOM_SCORE', score.name):
                    self.assertEqual(after,
                                     self.spawn('/bin/cat', score.name))

    def test_a_score_that_cannot_be_changed_stops_nothing(self):
        with mock.patch.object(launch, '_OOM_SCORE', '/no/such/file'):
            self.assertEqual('ok\n', self.spawn('/bin/echo', 'ok'))

    def test_it_keeps_away_from_huge_pages(self):
        for confine, enabled in ((lambda: None, '1'),
                                 (syscalls.no_huge_pages, '0')):
            status = self.spawn('/bin/cat', '/proc/self/status',
                                confine=confine)
            found = re.search('^THP_enabled:\t(.)$', status, re.MULTILINE)
            if not found:
                self.skipTest('Linux before 5.0 does not show it')
            self.assertEqual(enabled, found[1])

    def test_a_program_that_is_not_there_is_named(self):
        error = self.assertRaises(launch.LaunchFailed, self.spawn,
                                  '/no/such/program')
        self.assertIn('/no/such/program', str(error))
