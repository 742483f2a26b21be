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

"""What Zun's periodic task, which runs each minute, does with our records."""

from zunclient.common.apiclient import exceptions as zun_exc

from tests.e2e import base
from tools.quickstart import node


class RecordsTest(base.TestCase):

    def is_gone(self, container):
        try:
            base.zun().containers.get(container.uuid)
        except zun_exc.NotFound:
            return True
        return False

    def pods(self):
        return {pod['uuid'] for pod in node.api(base.stack()).list_pods(
            node.CONTEXT, base.stack().host)}

    def test_auto_remove_and_auto_heal(self):
        """Both in one test, because each of them waits for the task."""
        healed = self.run_container(auto_heal=True)
        boot_id = self.output(healed, 'cat /proc/sys/kernel/random/boot_id')
        removed = self.create('run', ['true'], auto_remove=True)
        node.api(base.stack()).delete_pod(
            node.CONTEXT, base.stack().host, healed.uuid, True)

        base.wait_until('auto_remove', lambda: self.is_gone(removed), 150)
        self.assertNotIn(removed.uuid, self.pods())
        base.wait_until('auto_heal',
                        lambda: healed.uuid in self.pods(), 150)
        self.wait_status(healed, 'Running')
        self.assertNotEqual(boot_id, self.output(
            healed, 'cat /proc/sys/kernel/random/boot_id'))
