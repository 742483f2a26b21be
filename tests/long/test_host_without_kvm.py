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

"""`kata-openstack host check` where KVM is missing or not allowed."""

import json
import shlex

from tests.functional.nested import testbed
from tests.unit import base


class TestHostCheck(base.TestCase):
    def test_without_svm_kvm_is_absent(self):
        testbed.skip_unless_possible()
        result = testbed.run_in_l1(testbed.host_check(), svm=False,
                                   vsock=False)
        self.assertEqual('', result.stderr)
        answer = json.loads(result.stdout)
        self.assertEqual(1, result.returncode)
        self.assertEqual('absent', answer['kvm']['state'])
        self.assertIn('nested virtualization', answer['kvm']['remedy'])
        self.assertEqual('absent', answer['vsock']['state'])
        self.assertIsNone(answer['accelerator'])
        self.assertEqual([], [h for h in answer['handlers'] if h['usable']])

    def test_kvm_that_may_not_be_opened_is_denied(self):
        testbed.skip_unless_possible()
        # root counts as any other user without what lets it pass file modes
        result = testbed.run_in_l1(['sh', '-c', (
            'chown 1 /dev/kvm && chmod 600 /dev/kvm && setpriv '
            '--bounding-set=-dac_override,-dac_read_search '
            + shlex.join(testbed.host_check()))])
        kvm = json.loads(result.stdout)['kvm']
        self.assertEqual('denied', kvm['state'], kvm)
        self.assertEqual(1, result.returncode)
