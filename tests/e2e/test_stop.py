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

"""Runs last: it stops the stack."""

import subprocess

from tests.e2e import base
from tools.quickstart import cleanup
from tools.quickstart import process


class StopAloneTest(base.AloneTestCase):

    def quickstart(self, *arguments):
        stack = base.stack()
        subprocess.run(
            [str(stack.repository / 'tools/quickstart.sh'), '--state-dir',
             str(stack.state), *arguments], check=True)

    def test_nothing_is_left_after_stop_and_it_starts_again(self):
        stack = base.stack()
        container = self.run_container(
            ['sh', '-c', 'echo run >>/root/runs; exec sleep 3600'])
        ports = self.look().switch_ports
        memory = base.memory()
        self.assertTrue(memory.exists())

        self.quickstart('stop')

        self.assertEqual([], process.of_stack(stack))
        self.assertEqual([], cleanup.mounts(stack))
        links = subprocess.run(['ip', '-o', 'link'], capture_output=True,
                               text=True, check=True).stdout
        for name in (*ports, stack.integration_bridge, 'ovs-netdev'):
            self.assertNotIn(f' {name}', links)
        self.assertFalse(memory.exists())
        self.assertEqual([], [path.name for path in stack.run.iterdir()
                              if path.suffix in ('.pid', '.sock')])

        self.quickstart('up', '--no-proof')
        self.assertEqual('Stopped', base.zun().containers.get(
            container.uuid).status)
        base.zun().containers.start(container.uuid)
        self.wait_status(container, 'Running')
        base.wait_until('the second run', lambda: self.output(
            container, 'cat /root/runs') == 'run\nrun')
