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

    def state_in_list(self, container):
        """Return the state in the database; only "show" asks the node."""
        return next(found.status for found in base.zun().containers.list()
                    if found.uuid == container.uuid)

    def test_an_end_is_seen_at_once(self):
        container = self.run_container(command=[
            'sh', '-c', 'while [ ! -e /end ]; do sleep 0.1; done; exit 5'])
        self.execute(container, 'touch /end')
        # long before the sync, which comes once a minute
        base.wait_until('the end', lambda: self.state_in_list(
            container) == 'Stopped', 5)
        self.assertIn('Exited(5)', base.zun().containers.get(
            container.uuid).status_detail)

    def test_restart_policies(self):
        always = self.create('run', [
            'sh', '-c', 'date +%s >>/root/runs; sleep 1'],
            restart_policy={'Name': 'always'})
        failing = self.create('run', ['sh', '-c', 'echo run; exit 3'],
                              restart_policy={'Name': 'on-failure',
                                              'MaximumRetryCount': '2'})
        zun = base.zun().containers
        base.wait_until('the third run', lambda: self.lines(
            failing) == ['run'] * 3, 60)
        base.wait_until('the end', lambda: self.state_in_list(
            failing) == 'Stopped', 10)
        self.assertIn('Exited(3)', zun.get(failing.uuid).status_detail)
        base.wait_until('its third run', lambda: self.runs(always) >= 3, 60)
        zun.stop(always.uuid, 1)
        self.wait_status(always, 'Stopped')

    def lines(self, container):
        try:
            return base.zun().containers.logs(container.uuid,
                                              stdout=True).split()
        except zun_exc.Conflict:  # not running yet
            return []

    def runs(self, container):
        try:
            return int(self.output(container,
                                   'sh -c "wc -l </root/runs"'))
        except (zun_exc.ClientException, AssertionError, ValueError):
            return 0  # between two runs

    def test_health(self):
        container = self.run_container(healthcheck={
            'cmd': 'test -e /works', 'interval': 1, 'retries': 2,
            'timeout': 5})

        def detail():
            return base.zun().containers.get(container.uuid).status_detail
        base.wait_until('a failure', lambda: '(unhealthy, ' in detail(), 30)
        self.execute(container, 'touch /works')
        base.wait_until('a success', lambda: detail().endswith('(healthy)'),
                        30)

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
