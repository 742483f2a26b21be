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
"""The resources of a container, and the errors beyond its limits."""

import time

from tests.e2e import base


class ResourcesTest(base.TestCase):

    def test_without_any_limit(self):
        container = self.run_container()
        self.assertEqual('1048576 1048576', self.output(
            container, "sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)'"))
        before = time.time()
        clock = float(self.output(container, "sh -c 'echo $EPOCHREALTIME'"))
        self.assertLess(before - 0.1, clock)
        self.assertLess(clock, time.time() + 0.1)
        # the limit is the VM's memory, not the node's
        stats = base.zun().containers.stats(container.uuid)
        total = int(self.output(
            container, "awk '/MemTotal/{print $2}' /proc/meminfo")) // 1024
        self.assertLess(total, stats['MEM LIMIT(MiB)'])
        self.assertLess(stats['MEM LIMIT(MiB)'], total + 100)

    def test_a_disk_that_is_full(self):
        container = self.run_container(disk=1)
        self.output(container, "sh -c 'echo kept > /root/file'")
        text, code = self.execute(container, 'fallocate -l 1500M /big')
        self.assertNotEqual(0, code)
        self.assertIn('No space left', text)
        size = self.output(container, "sh -c 'df -m / | tail -n 1'").split()
        self.assertLess(int(size[1]), 1025)
        base.zun().containers.restart(container.uuid, timeout=5)
        self.wait_status(container, 'Running')
        self.assertEqual('kept', self.output(container, 'cat /root/file'))

    def test_a_child_that_ran_out_of_memory(self):
        container = self.create('run', memory='128', command=[
            'sh', '-c', 'dd if=/dev/zero of=/dev/null bs=200M; exit 0'])
        stopped = self.wait_status(container, 'Stopped')
        self.assertIn('Exited(0)', stopped.status_detail)
        self.assertIn('A process in the container was killed',
                      stopped.status_reason)
