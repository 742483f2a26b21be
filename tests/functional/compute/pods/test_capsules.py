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

import os
import signal
import threading
import time
import uuid

from kata_openstack.compute.pods import view
from kata_openstack.compute.restarts import stored_pod
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.hypervisors import embedded
from tests.functional import kata
from tests.unit import base

BOOT_ID = '/proc/sys/kernel/random/boot_id'


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError('it did not happen in time')
        time.sleep(0.1)


class CapsulesTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.node = self.useFixture(kata.Node())

    def capsule(self, *containers, run=True):
        """:param containers: the command of each, and other values"""
        pod = self.node.pod()
        pod['kind'] = 'capsule'
        [template] = pod['containers']
        pod['containers'] = [
            {**template, 'uuid': str(uuid.uuid4()), 'name': f'c{number}',
             'command': ['sh', '-c', command], **values}
            for number, (command, values) in enumerate(containers)]
        if run:
            self.node.call('create_pod', pod)
            self.node.call('start_pod', pod)
        return pod

    def states(self, pod):
        found = {c['uuid']: c['state'] for c in self.node.call(
            'show_pod', pod['uuid'])['containers']}
        return [found[c['uuid']] for c in pod['containers']]

    def logs(self, pod, number):
        return self.node.call('logs', pod['containers'][number][
            'uuid']).split()

    def execute(self, pod, number, *command):
        return self.node.call('exec_sync', pod['containers'][number]['uuid'],
                              list(command))['output']

    def test_one_container_starts_again_beside_the_other(self):
        pod = self.capsule(
            ('echo run; echo x >>/root/file; cat /root/file | wc -l; sleep 1;'
             'exit 3', {'restart': 'on-failure:2'}),
            ('echo once; sleep 1000', {'restart': 'always'}))
        boot = self.execute(pod, 1, 'cat', BOOT_ID)
        # it keeps its files and its log, and ends after two restarts
        wait_until(lambda: self.logs(pod, 0) == [
            'run', '1', 'run', '2', 'run', '3'])
        wait_until(lambda: self.states(pod) == ['exited', 'running'])
        time.sleep(2)
        self.assertEqual(['exited', 'running'], self.states(pod))
        self.assertEqual(['once'], self.logs(pod, 1))
        self.assertEqual(boot, self.execute(pod, 1, 'cat', BOOT_ID))

    def test_a_vm_that_dies(self):
        pod = self.capsule(('sleep 1000', {'restart': 'always'}),
                           ('sleep 1000', {'restart': 'always'}))
        boot = self.execute(pod, 0, 'cat', BOOT_ID)
        self.execute(pod, 1, 'touch', '/root/kept')
        sandbox = self.node.call('show_pod', pod['uuid'])['sandbox_id']
        self.kill_vm(sandbox)
        wait_until(lambda: self.states(pod) == ['running'] * 2 and (
            self.node.call('show_pod', pod['uuid'])['sandbox_id'] != sandbox))
        self.assertNotEqual(boot, self.execute(pod, 0, 'cat', BOOT_ID))
        self.assertEqual('/root/kept\n',
                         self.execute(pod, 1, 'ls', '/root/kept'))

    def test_what_ended_well_does_not_run_again_in_a_new_vm(self):
        pod = self.capsule(('echo once', {'restart': 'on-failure'}),
                           ('sleep 1000', {'restart': 'on-failure'}))
        wait_until(lambda: self.states(pod) == ['exited', 'running'])
        sandbox = self.node.call('show_pod', pod['uuid'])['sandbox_id']
        self.kill_vm(sandbox)
        wait_until(lambda: self.node.call('show_pod', pod['uuid'])[
            'sandbox_id'] != sandbox)
        wait_until(lambda: self.states(pod) == ['exited', 'running'])
        self.assertEqual(['once'], self.logs(pod, 0))
        self.node.call('delete_pod', pod['uuid'])
        self.assertEqual(
            [], [*self.node.containerd.client.list_pod_sandboxes()])

    def kill_vm(self, sandbox):
        config = settings.Settings.load(
            str(embedded.config_path(self.node.conf)))
        os.kill(state.State.load(config, sandbox).qemu, signal.SIGKILL)

    def test_an_init_container_holds_up_nobody_else(self):
        slow = self.capsule(('true', {'init': True}),
                            ('sleep 1000', {'init': True}),
                            ('sleep 1000', {}), run=False)
        self.node.call('create_pod', slow)
        starting = threading.Thread(target=self.fails, args=(slow,))
        starting.start()
        wait_until(lambda: self.states(slow)[:2] == ['exited', 'running'])
        others = [self.capsule(('exit 0', {})) for _ in range(5)]
        for pod in others:
            wait_until(lambda pod=pod: not self.node.call(
                'show_pod', pod['uuid'])['ready'], 10)
        begun = time.monotonic()
        self.node.call('delete_pod', slow['uuid'])
        self.assertLess(time.monotonic() - begun, 20)
        starting.join()

    def fails(self, pod):
        self.assertRaises(exception.KataError, self.node.call, 'start_pod',
                          pod)

    def test_all_that_end_well(self):
        """The VM goes, although a failure would start a container again."""
        pod = self.capsule(('exit 0', {'restart': 'on-failure'}),
                           ('exit 0', {'restart': 'no'}))
        wait_until(lambda: not self.node.call('show_pod',
                                              pod['uuid'])['ready'])
        self.assertEqual(['exited'] * 2, self.states(pod))

    def test_a_node_that_was_restarted(self):
        pod = self.capsule(('echo run; sleep 1000', {'restart': 'always'}),
                           ('sleep 1000', {'restart': 'no'}))
        self.node.call('stop_pod', pod['uuid'], 0)
        self.node.service._restarter.check_all()
        wait_until(lambda: self.logs(pod, 0) == ['run', 'run'])

    def test_init_containers(self):
        pod = self.capsule(
            ('sleep 1; cat /proc/uptime', {'init': True}),
            ('cat /proc/uptime', {'init': True}),
            ('cat /proc/uptime; sleep 1000', {'restart': 'always'}))
        self.assertEqual(['exited', 'exited', 'running'], self.states(pod))
        wait_until(lambda: self.logs(pod, 2))
        times = [float(self.logs(pod, number)[0]) for number in range(3)]
        self.assertEqual(sorted(times), times)

    def test_an_init_container_that_fails(self):
        pod = self.capsule(('echo no disk; exit 7', {'init': True}),
                           ('echo never', {}), run=False)
        self.node.call('create_pod', pod)
        error = self.assertRaises(exception.Conflict, self.node.call,
                                  'start_pod', pod)
        self.assertIn('exit code 7 after "no disk"', str(error))
        self.assertRaises(exception.NotFound, self.node.call, 'show_pod',
                          pod['uuid'])

    def test_a_pod_that_is_read_back(self):
        pod = self.capsule(
            ('sleep 1000', {
                'environment': {'A': 'b c', 'EMPTY': ''}, 'workdir': '/usr',
                'cpus': 0.5, 'memory_mib': 64, 'restart': 'on-failure:3',
                'health': {'test': 'true', 'interval': 7, 'timeout': 5,
                           'retries': 2}}),
            ('sleep 1000', {'init': False, 'tty': True, 'stdin': True}))
        asked = objects.Pod.from_dict(
            {**pod, 'nameservers': ['192.0.2.53'],
             'search_domains': ['example.org']})
        self.node.call('delete_pod', pod['uuid'])
        self.node.call('create_pod', asked.to_dict())
        client = self.node.containerd.client
        found = stored_pod.read(client, view.read(client, pod['uuid']))
        asked.runtime = found.runtime
        self.assertEqual(asked, found)
