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

"""Facts that prove that the container runs in its own VM."""

import json
import os
import pathlib

from tests.e2e import base

BOOT_ID = '/proc/sys/kernel/random/boot_id'


class IsolationTest(base.TestCase):

    def test_kernel_boot_id_and_processes(self):
        first = self.run_container()
        second = self.run_container()
        host_boot_id = pathlib.Path(BOOT_ID).read_text().strip()

        kernel = self.output(first, 'uname -r')
        self.assertNotEqual(os.uname().release, kernel)
        boot_ids = {host_boot_id, self.output(first, f'cat {BOOT_ID}'),
                    self.output(second, f'cat {BOOT_ID}')}
        self.assertEqual(3, len(boot_ids))

        # "ps" sees only itself and the container's process
        lines = self.output(first, 'ps -o pid,args').splitlines()[1:]
        self.assertEqual(['sleep 3600', 'ps -o pid,args'],
                         [line.split(None, 1)[1] for line in lines])

    def test_runtime_is_never_runc(self):
        container = self.run_container()
        self.assertTrue(container.runtime.startswith('kata-'),
                        container.runtime)
        pod = self.pod(container)
        for name in (pod['sandbox_id'],
                     pod['containers'][0]['container_id']):
            runtime = json.loads(base.ctr('containers', 'info', name))[
                'Runtime']['Name']
            self.assertIn('kata-embedded', runtime)

    def test_size_is_what_was_asked_for(self):
        container = self.run_container(memory='512', cpu=1)
        total = self.output(container, "awk '/MemTotal/{print $2}' "
                                       '/proc/meminfo')
        # more than the default size of 256 MiB; the kernel takes a part
        self.assertGreater(int(total), 400 * 1024)
        self.assertEqual('1', self.output(container, 'nproc'))


class IsolationAloneTest(base.AloneTestCase):

    def test_each_has_a_hypervisor_process(self):
        before = self.look()
        self.run_container()
        machines = [process for process in
                    self.look().beyond(before)['processes']
                    if 'qemu' in process]
        self.assertEqual(1, len(machines))
