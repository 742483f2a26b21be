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

from kata_openstack.compute.usage import ps
from kata_openstack import exception
from tests.unit import base

SH = {'pid': 1, 'ppid': 0, 'uid': 0, 'gid': 0, 'state': 'S', 'name': 'sh',
      'arguments': 'sh -c sleep 9', 'tty': '', 'cpu_seconds': 3725.5,
      'nice': 0, 'threads': 1, 'age_seconds': 7451.0, 'virtual_kib': 2048,
      'resident_kib': 1024}
KERNELS = {**SH, 'pid': 7, 'ppid': 1, 'uid': 1000, 'arguments': '',
           'tty': 'pts/0', 'age_seconds': 200000.0}
NOW = ps.Moment(memory_kib=10240, now=1_700_000_000.0)


class PsTest(base.TestCase):

    def table(self, arguments, *processes):
        return ps.table(ps.columns(arguments), processes or [SH, KERNELS],
                        NOW)

    def test_the_default_is_dockers(self):
        for arguments in ('', '-ef', '-e -f', '-Af'):
            self.assertEqual(
                {'Titles': ['UID', 'PID', 'PPID', 'C', 'STIME', 'TTY',
                            'TIME', 'CMD'],
                 'Processes': [
                     ['root', '1', '0', '50', '20:09', '?', '01:02:05',
                      'sh -c sleep 9'],
                     ['1000', '7', '1', '1', 'Nov12', 'pts/0', '01:02:05',
                      '[sh]']]}, self.table(arguments))

    def test_bsd(self):
        for arguments in ('aux', 'auxww', 'uax'):
            found = self.table(arguments)
            self.assertEqual(
                ['USER', 'PID', '%CPU', '%MEM', 'VSZ', 'RSS', 'TTY', 'STAT',
                 'START', 'TIME', 'COMMAND'], found['Titles'])
            self.assertEqual(
                ['root', '1', '50.0', '10.0', '2048', '1024', '?', 'S',
                 '20:09', '62:05', 'sh -c sleep 9'], found['Processes'][0])
        self.assertEqual(['PID', 'TTY', 'STAT', 'TIME', 'COMMAND'],
                         self.table('ax')['Titles'])

    def test_chosen_columns(self):
        for arguments in ('-o pid,comm', '-eo pid,comm', '-opid,comm',
                          '-o pid -o comm', '-e -o pid,comm'):
            self.assertEqual({'Titles': ['PID', 'COMMAND'],
                              'Processes': [['1', 'sh'], ['7', 'sh']]},
                             self.table(arguments))
        self.assertEqual(
            {'Titles': ['Number', ''], 'Processes': [['1', '02:04:11']]},
            self.table('-o pid=Number,etime=', SH))
        self.assertEqual(
            [['2-07:33:20']], self.table('-o etime', KERNELS)['Processes'])

    def test_each_column_has_a_value(self):
        for name in ps._COLUMNS:
            [[value]] = self.table(f'-o {name}', SH)['Processes']
            self.assertNotEqual('', value)

    def test_what_is_not_known_is_refused(self):
        for arguments, named in (
                ('-Z', '-Z'), ('--forest', '--forest'), ('-o', '-o'),
                ('-o pid,secret', 'secret'), ('-o ,', '-o'), ('-', '-'),
                ('aux; reboot', 'aux;'), ('-C sh', '-C')):
            error = self.assertRaises(exception.InvalidInput, ps.columns,
                                      arguments)
            self.assertIn(repr(named), str(error))

    def test_figures_of_a_guest_that_lies(self):
        lies = {**SH, 'age_seconds': 0, 'cpu_seconds': -5, 'uid': -1}
        for arguments in ('-ef', 'aux', '-o etime,time'):
            self.table(arguments, lies)
