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

"""All operations of a user on a container, by API and by client."""

import json

from zunclient.common.apiclient import exceptions

from tests.e2e import base


def logs(container, **arguments):
    return base.zun().containers.logs(
        container.uuid, **{'stdout': True, 'stderr': True, **arguments})


class LifecycleAloneTest(base.AloneTestCase):

    def test_create_start_stop_restart_kill_delete(self):
        before = self.look()
        container = self.create(command=[
            'sh', '-c', 'trap "exit 0" TERM; echo run >>/root/runs; '
                        'wc -l </root/runs; while :; do sleep 1; done'])
        self.wait_status(container, 'Created')
        zun = base.zun().containers

        zun.start(container.uuid)
        self.wait_runs(container, 1)
        zun.stop(container.uuid, 10)
        stopped = self.wait_status(container, 'Stopped')
        self.assertIn('Exited(0)', stopped.status_detail)

        # a container keeps its files and its log when it starts again
        zun.start(container.uuid)
        self.wait_runs(container, 2)
        self.assertEqual('2', self.output(container, 'sh -c '
                                                     '"wc -l </root/runs"'))
        zun.restart(container.uuid, 10)
        self.wait_runs(container, 3)

        zun.kill(container.uuid, 'SIGKILL')
        killed = self.wait_status(container, 'Stopped')
        self.assertIn('Exited(137)', killed.status_detail)
        self.remove(container.uuid)
        self.assert_nothing_left(before)

    def wait_runs(self, container, count):
        """Wait until it runs and its shell is ready for a signal."""
        expected = [str(run + 1) for run in range(count)]
        base.wait_until(f'run {count}',
                        lambda: self.runs(container) == expected)
        self.wait_status(container, 'Running')

    def runs(self, container):
        try:
            return logs(container).split()
        except exceptions.Conflict:  # not running yet
            return []


class LifecycleTest(base.TestCase):

    def test_logs_of_both_streams(self):
        container = self.create('run', command=[
            'sh', '-c', 'echo to stdout; echo to stderr >&2; echo last'])
        self.wait_status(container, 'Stopped')
        self.assertEqual({'to stdout', 'to stderr', 'last'},
                         set(logs(container).splitlines()))
        # only the lines of one stream have an order
        self.assertEqual(['last'], logs(
            container, tail='1', stderr=False).splitlines())
        self.assertEqual(['to stderr'], logs(
            container, tail='1', stdout=False).splitlines())

    def test_exec_output_and_exit_code(self):
        container = self.run_container(environment={'COLOUR': 'green'})
        self.assertEqual(('', 0), self.execute(container, 'true'))
        self.assertEqual(7, self.execute(container, "sh -c 'exit 7'")[1])
        self.assertEqual('green', self.output(
            container, "sh -c 'echo $COLOUR'"))

    def test_pause(self):
        container = self.run_container(command=['sh', '-c',
                                                'while :; do :; done'])
        zun = base.zun().containers
        zun.pause(container.uuid)
        paused = self.wait_status(container, 'Paused')
        self.assertIn('(Paused)', paused.status_detail)
        self.assertRaises(exceptions.Conflict, self.execute, container,
                          'true')
        zun.unpause(container.uuid)
        self.wait_status(container, 'Running')
        self.assertEqual(('', 0), self.execute(container, 'true'))

    def test_top_and_stats(self):
        container = self.run_container(command=[
            'sh', '-c', 'dd if=/dev/zero of=/root/x bs=1M count=4 '
                        'conv=fsync; while :; do :; done'], memory='128')
        zun = base.zun().containers
        self.assertIn('while :', json.dumps(
            zun.top(container.uuid)['Processes']))
        found = zun.top(container.uuid, 'aux')
        self.assertEqual('USER', found['Titles'][0])
        refused = self.assertRaises(exceptions.BadRequest, zun.top,
                                    container.uuid, '--forest')
        self.assertIn('--forest', str(refused))
        base.wait_until('the file is written', lambda: int(
            zun.stats(container.uuid)['BLOCK I/O(B)'].split('/')[1])
            >= 4 * 1024 * 1024)
        found = zun.stats(container.uuid)
        self.assertGreater(found['CPU %'], 5)
        self.assertEqual(128, found['MEM LIMIT(MiB)'])
        self.assertGreater(found['MEM USAGE(MiB)'], 0)

    def test_new_limits(self):
        container = self.run_container(memory='128', cpu=0.5)
        zun = base.zun().containers
        changed = zun.update(container.uuid, memory='150', cpu=0.3)
        self.assertEqual(('150', 0.3), (changed.memory, changed.cpu))
        self.assertEqual(f'30000 100000\n{150 << 20}', self.output(
            container, 'cat /sys/fs/cgroup/cpu.max '
                       '/sys/fs/cgroup/memory.max'))
        (allocation,) = base.cloud().placement.get(
            f'/allocations/{container.uuid}').json()['allocations'].values()
        self.assertEqual(150, allocation['resources']['MEMORY_MB'])
        refused = self.assertRaises(exceptions.Conflict, zun.update,
                                    container.uuid, memory='3000')
        self.assertIn('can be at most', str(refused))
        shown = zun.get(container.uuid)
        self.assertEqual(('150', str(refused).split(' (HTTP')[0]),
                         (shown.memory, shown.status_reason))

    def test_exit_code_of_a_container_that_ends(self):
        container = self.create('run', command=['sh', '-c', 'exit 3'])
        stopped = self.wait_status(container, 'Stopped')
        self.assertIn('Exited(3)', stopped.status_detail)

    def test_with_the_command_line_client(self):
        name = self.name()
        shown = json.loads(base.openstack(
            'appcontainer', 'run', '--name', name, '-f', 'json', base.IMAGE,
            'sh', '-c', 'echo hello; sleep 3600'))
        self.addCleanup(self.remove, shown['uuid'])
        base.wait_until('it runs', lambda: base.zun().containers.get(
            name).status == 'Running')

        shown = json.loads(base.openstack('appcontainer', 'show', name,
                                          '-f', 'json'))
        self.assertEqual('Running', shown['status'])
        self.assertIn(name, base.openstack('appcontainer', 'list'))
        self.assertEqual('hello', base.openstack('appcontainer', 'logs',
                                                 name))
        self.assertEqual('e2e', base.openstack(
            'appcontainer', 'exec', name, 'echo', 'e2e'))
        self.assertEqual('a  b c', base.openstack(
            'appcontainer', 'exec', name, 'sh', '-c', 'echo "a  b" "c"'))
        base.openstack('appcontainer', 'delete', '--force', name)
        base.wait_until('it is gone', lambda: name not in base.openstack(
            'appcontainer', 'list'))
