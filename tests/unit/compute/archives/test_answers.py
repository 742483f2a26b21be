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

from kata_openstack.compute.archives import answers
from kata_openstack import exception
from tests.unit import base

STAT = {'name': 'x', 'size': 5, 'mode': 1 << 31 | 0o755,
        'mtime': '2017-07-14T02:40:00.5Z', 'linkTarget': ''}


class TestAnswers(base.TestCase):

    def test_stat(self):
        self.assertEqual(STAT, answers.checked({'stat': STAT}, 'c'))
        self.assertEqual({}, answers.checked({'stat': {}}, 'c'))

    def test_errors_of_the_user(self):
        error = self.assertRaises(
            exception.InvalidInput, answers.checked,
            {'error': ['path', '/x', 'it does not exist', 'Do this.']}, 'c')
        self.assertEqual("Invalid path '/x': it does not exist. Do this.",
                         str(error))
        error = self.assertRaises(
            exception.Conflict, answers.checked,
            {'error': ['container', '', 'read-only', 'Do that.']}, 'c')
        self.assertEqual('Container c is read-only. Do that.', str(error))

    def test_a_guest_that_lies(self):
        wrong = {'name': ['\x1b'] * 9999, 'size': -1, 'mode': 1 << 40,
                 'mtime': 'x' * 100, 'linkTarget': {'a': '\n'}, 'more': 1}
        found = answers.checked({'stat': wrong}, 'c')
        self.assertEqual(STAT.keys(), found.keys())
        self.assertEqual((0, 0, '1970-01-01T00:00:00Z'), (
            found['size'], found['mode'], found['mtime']))
        self.assertEqual(600, len(found['name']))
        self.assertEqual(0, answers.checked(
            {'stat': {'size': True, 'x': 1}}, 'c')['size'])
        error = self.assertRaises(exception.InvalidInput, answers.checked, {
            'error': ['\x1b[2J', 'v' * 9999, ['why'], None]}, 'c')
        self.assertNotIn('\x1b', str(error))
        self.assertLess(len(str(error)), 1000)
        for outcome in (None, [], {}, 'x', {'error': 'x'}, {'error': [1]},
                        {'stat': [1]}, {'failed': 'x' * 9999}):
            error = self.assertRaises(exception.RuntimeFailed,
                                      answers.checked, outcome, 'c')
            self.assertLess(len(str(error)), 1000)
