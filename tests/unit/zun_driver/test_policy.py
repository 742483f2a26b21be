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

from oslo_policy import policy
import yaml
from zun.common import policies

from tests.unit import base

SAMPLE = (pathlib.Path(__file__).parents[3] / 'etc' / 'kata-openstack'
          / 'zun-policy.yaml.sample')


class TestPolicySample(base.TestCase):

    def test_rules_are_zuns(self) -> None:
        """Includes commented rules; Zun ignores rules with a typo."""
        text = SAMPLE.read_text().replace('# "', '"')
        rules = yaml.safe_load(text)
        self.assertIn('container:create:runtime', rules)
        known = {rule.name for rule in policies.list_rules()}
        self.assertEqual(set(), set(rules) - known)
        policy.Rules.from_dict(rules)  # parses the checks
