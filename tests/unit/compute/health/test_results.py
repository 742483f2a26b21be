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

from kata_openstack.compute.health import results
from tests.unit import base


class ResultsTest(base.TestCase):

    def test_states(self):
        subject = results.Results()
        self.assertEqual('', subject.words('c'))
        subject.begin('c', 2)
        self.assertEqual('health: starting', subject.words('c'))
        for healthy, words, changed in (
                (False, 'health: starting', False),
                (False, 'unhealthy, 2 failed', True),
                (False, 'unhealthy, 3 failed', True),
                (True, 'healthy', True), (True, 'healthy', False),
                (False, 'healthy, 1 failed', True),
                (False, 'unhealthy, 2 failed', True)):
            self.assertEqual(changed, subject.add('c', healthy))
            self.assertEqual(words, subject.words('c'))
        subject.begin('c', 2)
        self.assertTrue(subject.add('c', True))
        subject.forget('c')
        self.assertEqual('', subject.words('c'))

    def test_a_result_after_the_end(self):
        subject = results.Results()
        self.assertFalse(subject.add('c', False))
        self.assertEqual('', subject.words('c'))
