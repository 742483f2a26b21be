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

"""A crash of a service loses no container."""

import os
import signal

from tests.e2e import base
from tools.quickstart import process


class CrashAloneTest(base.AloneTestCase):

    def crash(self, service):
        """Kill a service; it is started again after the test in any case."""
        running = process.find(base.stack(), service)
        self.assertIsNotNone(running)
        self.addCleanup(self.start_service, service)
        running.send(signal.SIGKILL)
        self.assertTrue(process.wait_gone([running], 10))

    def log(self, container):
        return base.zun().containers.logs(
            container.uuid, stdout=True, stderr=True).strip()

    def assert_same_container_after_crash_of(self, *crashed):
        container = self.run_container(
            ['sh', '-c', 'echo before; sleep 3600'])
        base.wait_until('its first words', lambda: self.log(container))
        boot_id = self.output(
            container, 'cat /proc/sys/kernel/random/boot_id')
        for service in crashed:
            self.crash(service)
        for service in crashed:
            self.start_service(service)

        # Zun's sync must not mark it as lost
        self.wait_status(container, 'Running')
        self.assertEqual(boot_id, self.output(
            container, 'cat /proc/sys/kernel/random/boot_id'))
        self.assertEqual('before', self.log(container))

        # it can still be removed
        before = self.look()
        self.remove(container.uuid)
        after = self.look()
        self.assertEqual({}, after.beyond(before))
        self.assertEqual({container.uuid}, before.pods - after.pods)
        self.assertEqual(len(before.switch_ports) - 1,
                         len(after.switch_ports))

    def test_kata_compute(self):
        self.assert_same_container_after_crash_of('kata-compute')

    def test_zun_compute(self):
        self.assert_same_container_after_crash_of('zun-compute')

    def test_containerd(self):
        self.assert_same_container_after_crash_of('containerd')

    def test_all_three(self):
        self.assert_same_container_after_crash_of(
            'containerd', 'kata-compute', 'zun-compute')

    def test_an_exit_during_the_crash_is_noticed(self):
        container = self.run_container(['sleep', '8'])
        task = self.pod(container)['containers'][0]['container_id']
        self.crash('kata-compute')
        base.wait_until('the container has ended', lambda: (
            f'{task} ' not in ' '.join(
                line for line in base.ctr('tasks', 'list').splitlines()
                if 'RUNNING' in line)), 60)
        self.start_service('kata-compute')
        self.wait_status(container, 'Stopped')

    def test_a_vm_that_ends_by_itself(self):
        before = self.look()
        container = self.run_container()
        (machine,) = [process for process in
                      self.look().beyond(before)['processes']
                      if 'qemu' in process]
        os.kill(int(machine.split()[0]), signal.SIGKILL)
        self.wait_status(container, 'Stopped')
        # containerd tells of the container's end first
        base.wait_until('the reason', lambda: (
            'virtual machine of the container ended by itself' in (
                base.zun().containers.get(container.uuid).status_reason
                or '')), 5)
        base.zun().containers.start(container.uuid)
        self.assertIsNone(self.wait_status(container, 'Running').status_reason)
