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

"""The clock of a guest, for an hour."""

import itertools
import time

from tests.functional.embedded import base
from tests.functional.embedded import clocks


class TestClock(base.EmbeddedTestCase):
    def test_an_hour(self):
        pod = self.pod()
        container = clocks.run(pod, 5)
        time.sleep(3600)
        found = clocks.printed(pod, container)
        self.assertGreater(len(found), 500)
        # A line may be late, if the machine is busy for a moment. Not so
        # three in a row.
        errors = [min(lines, key=abs) for lines in zip(*(
            [node - guest for node, guest in found][skip:]
            for skip in range(3)), strict=False)]
        self.assertLess(max(map(abs, errors)), 0.05)
        for before, after in itertools.pairwise(g for _, g in found):
            self.assertLess(before, after)
