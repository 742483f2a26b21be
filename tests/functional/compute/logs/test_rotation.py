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

"""The log of a container on the host has a limit."""

import time

import fixtures

from tests.functional import kata
from tests.unit import base

MIB = 1024 * 1024


def size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:  # just rotated
        return 0


class LogRotationTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.logs.rotation._INTERVAL', 0.2))
        self.node = self.useFixture(kata.Node(
            {('compute', 'max_log_file_mib'): 1}))

    def test_a_container_that_never_stops_writing(self):
        pod = self.node.run(['seq', '1000000000'])
        folder = kata.STATE / 'lib' / 'logs' / pod['uuid']
        aside = folder / f'{pod["uuid"]}.log.1'
        deadline = time.monotonic() + 120
        rotated = set()
        while len(rotated) < 2:  # the second replaced the first
            self.assertLess(time.monotonic(), deadline, rotated)
            if aside.exists():
                rotated.add(aside.stat().st_ino)
            # far more than the container writes between two checks
            self.assertLess(sum(map(size, folder.iterdir())), 100 * MIB)
            time.sleep(0.05)
        numbers = self.logs(pod)
        # no line is missing between the old and the new file
        self.assertEqual(list(range(numbers[0], numbers[-1] + 1)), numbers)
        while self.logs(pod)[-1:] <= numbers[-1:]:  # still writing
            self.assertLess(time.monotonic(), deadline)

    def logs(self, pod):
        """The numbers in its log, without the first and the last line.

        Those may be incomplete: containerd writes a long burst in parts, and
        the part before may have been removed.
        """
        text = self.node.call('logs', pod['uuid'], True, True, False, None,
                              None)
        return [int(line) for line in text.splitlines()[1:-1]]
