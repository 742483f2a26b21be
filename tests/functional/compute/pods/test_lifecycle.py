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

"""Pods through RPC, in real VMs."""

import pathlib
import platform
import re
import time
import uuid

import fixtures
from tests.functional import kata
from tests.unit import base

from kata_openstack.compute.pods import handover
from kata_openstack import exception


def wait_until(condition, seconds=60):
    """Wait for the condition; the test must assert it afterwards."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


class PodsTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.node = self.useFixture(kata.Node())

    def leftovers(self):
        client = self.node.containerd.client
        logs = pathlib.Path(self.node.conf.state_path) / 'logs'
        return [*(s.id for s in client.list_pod_sandboxes()),
                *(c.id for c in client.list_containers()),
                *(logs.iterdir() if logs.exists() else [])]

    def lines_of_the_node(self, path, text):
        """Return the lines that only the node's own file can have."""
        return [line for line in pathlib.Path(path).read_text().splitlines()
                if line in text.splitlines() and line.strip()
                and 'localhost' not in line and 'ip6-' not in line]

    def test_no_dns_server(self):
        pod = self.node.run(['sleep', '1000'])
        found = self.node.execute(pod, 'cat', '/etc/resolv.conf')
        self.assertEqual('options ndots:1\n', found)

    def test_life(self):
        node = self.node
        pod = node.pod(['sh', '-c', 'echo out; echo err >&2; '
                        'trap "exit 3" TERM; while :; do sleep 0.1; done'],
                       container={'environment': {'COLOUR': 'blue'},
                                  'workdir': '/usr'},
                       nameservers=['192.0.2.53'],
                       search_domains=['example.org'])
        created = node.call('create_pod', pod)
        self.assertEqual('created', created['containers'][0]['state'])
        started = node.call('start_pod', pod)
        self.assertEqual('running', started['containers'][0]['state'])

        # its own kernel
        self.assertNotEqual(platform.release(),
                            node.execute(pod, 'uname', '-r').strip())
        self.assertEqual('test\n', node.execute(pod, 'hostname'))
        hosts = node.execute(pod, 'cat', '/etc/hosts')
        self.assertEqual('127.0.1.1\ttest', hosts.splitlines()[-1])
        self.assertEqual([], self.lines_of_the_node('/etc/hosts', hosts))
        self.assertEqual('127.0.1.1\n', node.execute(pod, 'hostname', '-i'))
        node.execute(pod, 'ping', '-c', '1', 'test')
        node.execute(pod, 'sh', '-c', 'echo 192.0.2.7 mine >> /etc/hosts')
        self.assertIn('mine', node.execute(pod, 'cat', '/etc/hosts'))
        self.assertEqual('blue\n',
                         node.execute(pod, 'sh', '-c', 'echo $COLOUR'))
        self.assertEqual('/usr\n',
                         node.execute(pod, 'readlink', '/proc/1/cwd'))
        self.assertEqual('search example.org\nnameserver 192.0.2.53\n',
                         node.execute(pod, 'cat', '/etc/resolv.conf'))
        self.assertEqual(
            {'output': 'a\n', 'exit_code': 4},
            node.call('exec_sync', pod['uuid'],
                      ['sh', '-c', 'echo a; exit 4']))
        self.assertEqual(127, node.call('exec_sync', pod['uuid'],
                                        ['no-such-command'])['exit_code'])
        node.execute(pod, 'sh', '-c', 'echo kept > /root/file')
        # the start does not wait for the first words
        wait_until(lambda: len(node.call('logs', pod['uuid']).split()) == 2)
        log = node.call('logs', pod['uuid'])
        self.assertEqual(['err', 'out'], sorted(log.split()))
        self.assertEqual('out\n',
                         node.call('logs', pod['uuid'], stderr=False))
        self.assertGreater(
            node.call('stats', pod['uuid'])['memory_mib'], 0)

        stopped = node.call('stop_pod', pod['uuid'], 30)
        self.assertFalse(stopped['ready'])
        self.assertEqual(('exited', 3), (
            stopped['containers'][0]['state'],
            stopped['containers'][0]['exit_code']))
        self.assertRaises(exception.Conflict, node.call, 'exec_sync',
                          pod['uuid'], ['true'])

        node.call('start_pod', pod)
        self.assertEqual('kept\n', node.execute(pod, 'cat', '/root/file'))
        self.assertEqual(hosts, node.execute(pod, 'cat', '/etc/hosts'))
        wait_until(lambda: len(node.call('logs', pod['uuid']).split()) == 4)
        self.assertEqual(4, len(node.call('logs', pod['uuid']).split()))

        node.call('kill_container', pod['uuid'], 'KILL')
        shown = node.call('show_pod', pod['uuid'])
        self.assertEqual(('exited', 137), (
            shown['containers'][0]['state'],
            shown['containers'][0]['exit_code']))
        node.call('restart_pod', pod, 0)
        self.assertEqual('kept\n', node.execute(pod, 'cat', '/root/file'))

        node.call('delete_pod', pod['uuid'])
        node.call('delete_pod', pod['uuid'])
        self.assertRaises(exception.NotFound, node.call, 'show_pod',
                          pod['uuid'])
        self.assertEqual([], self.leftovers())

    def test_pause_and_figures(self):
        node = self.node
        pod = node.run(['sh', '-c', 'dd if=/dev/zero of=/root/file bs=1M '
                        'count=8 conv=fsync; while :; do :; done'])
        uuid = pod['uuid']
        wait_until(lambda: '8+0 records out' in node.call('logs', uuid))
        busy = node.call('stats', uuid)
        self.assertGreater(busy['cpu_percent'], 5)
        self.assertGreaterEqual(busy['block_write'], 8 * 1024 * 1024)
        self.assertLess(busy['block_write'], 64 * 1024 * 1024)
        # memory was not limited, so the VM is the limit
        self.assertEqual(256, busy['memory_limit_mib'])

        listed = node.call('top', uuid, '')
        self.assertEqual('CMD', listed['Titles'][-1])
        [main] = listed['Processes']
        self.assertEqual(['root', '1', '0'], main[:3])
        self.assertIn('while :', main[-1])
        self.assertEqual([['1', 'sh']],
                         node.call('top', uuid, '-o pid,comm')['Processes'])
        self.assertRaises(exception.InvalidInput, node.call, 'top', uuid,
                          '--forest')

        node.call('pause_container', uuid, True)
        [paused] = node.call('show_pod', uuid)['containers']
        self.assertEqual('paused', paused['state'])
        node.call('stats', uuid)
        time.sleep(0.5)
        self.assertLess(node.call('stats', uuid)['cpu_percent'], 1)
        self.assertRaises(exception.Conflict, node.call, 'exec_sync', uuid,
                          ['true'])
        self.assertEqual([['1']],
                         node.call('top', uuid, '-o pid')['Processes'])
        node.call('pause_container', uuid, False)
        node.call('stats', uuid)
        time.sleep(0.5)
        self.assertGreater(node.call('stats', uuid)['cpu_percent'], 5)

        # a paused container stops in time, and starts again
        node.call('pause_container', uuid, True)
        begun = time.monotonic()
        stopped = node.call('stop_pod', uuid, 5)
        self.assertEqual('exited', stopped['containers'][0]['state'])
        self.assertLess(time.monotonic() - begun, 30)
        node.call('start_pod', pod)
        self.assertEqual('running', node.call('show_pod', uuid)
                         ['containers'][0]['state'])
        node.call('pause_container', uuid, True)
        node.call('delete_pod', uuid)
        self.assertEqual([], self.leftovers())

    def test_resize(self):
        node = self.node
        pod = node.run(['sh', '-c', 'while :; do :; done'],
                       container={'cpus': 0.2, 'memory_mib': 64})
        uuid, guest = pod['uuid'], '/sys/fs/cgroup'

        def limits():
            return node.execute(pod, 'cat', f'{guest}/cpu.max',
                                f'{guest}/memory.max').split()

        self.assertEqual(['20000', '100000', str(64 << 20)], limits())
        node.call('resize_container', uuid, 0.4, 100)
        self.assertEqual(['40000', '100000', str(100 << 20)], limits())
        self.assertEqual(100, node.call('stats', uuid)['memory_limit_mib'])
        time.sleep(1)
        # the limit of the host has followed: it was 0.2 and the overhead
        self.assertGreater(node.call('stats', uuid)['cpu_percent'], 25)
        node.call('resize_container', uuid, 0.1, None)
        self.assertEqual(['10000', '100000', str(100 << 20)], limits())

        refused = self.assertRaises(exception.Conflict, node.call,
                                    'resize_container', uuid, None, 4000)
        largest = int(re.search('at most ([0-9]+) MiB', str(refused))[1])
        node.call('resize_container', uuid, None, largest)
        self.assertRaises(exception.Conflict, node.call, 'resize_container',
                          uuid, None, largest + 1)
        self.assertRaises(exception.Conflict, node.call, 'resize_container',
                          uuid, 64.0, None)
        self.assertEqual(['10000', '100000', str(largest << 20)], limits())

        node.call('stop_pod', uuid, 0)
        node.call('resize_container', uuid, 1.0, 300)
        pod['containers'][0].update(cpus=1.0, memory_mib=300)
        node.call('start_pod', pod)
        self.assertEqual(['100000', '100000', str(300 << 20)], limits())

    def test_capsule(self):
        pod = self.node.pod()
        pod['kind'] = 'capsule'
        pod['containers'].append({**pod['containers'][0],
                                  'uuid': str(uuid.uuid4()), 'name': 'two'})
        self.node.call('create_pod', pod)
        started = self.node.call('start_pod', pod)
        self.assertEqual(['running', 'running'],
                         [c['state'] for c in started['containers']])
        boots = {self.node.call('exec_sync', c['uuid'], [
            'cat', '/proc/sys/kernel/random/boot_id'])['output']
            for c in pod['containers']}
        self.assertEqual(1, len(boots))  # one VM

    def test_pod_that_ends_gives_its_vm_back(self):
        pod = self.node.run(['sh', '-c', 'exit 7'])

        def shown():
            return self.node.call('show_pod', pod['uuid'])
        wait_until(lambda: not shown()['ready'])
        status = shown()
        self.assertFalse(status['ready'])
        self.assertEqual(7, status['containers'][0]['exit_code'])

    def test_missing_command(self):
        pod = self.node.pod(['/no/such/command'])
        self.node.call('create_pod', pod)
        error = self.assertRaises(exception.CommandNotFound, self.node.call,
                                  'start_pod', pod)
        self.assertIn('/no/such/command', str(error))
        self.assertIn('busybox', str(error))
        self.assertEqual([], self.leftovers())

    def test_refusals_leave_nothing(self):
        container = self.node.pod()['containers'][0]
        for fields, error in [
                ({'containers': [{**container, 'image': 'no.such/image'}]},
                 exception.ImageNotFound),
                ({'containers': [{**container, 'memory_mib': 1 << 30}]},
                 exception.NotEnoughMemory),
                ({'runtime': 'no-such-runtime'}, exception.UnknownRuntime),
                ({'needs': ['vfio']}, exception.NoHandler),
                ({'privileged': True}, exception.Unsupported),
                ({'uuid': '../../etc'}, exception.InvalidInput),
                ({'vifs': [{'port_id': container['uuid'],
                            'network_id': container['uuid'],
                            'mac_address': 'fa:16:3e:00:00:01',
                            'vif_type': 'bridge'}]},
                 exception.NetworkFailed)]:
            pod = {**self.node.pod(), **fields}
            self.assertRaises(error, self.node.call, 'create_pod', pod)
        self.assertEqual([], self.leftovers())

    def test_death_in_a_restart_loses_no_file(self):
        """containerd dies before or after the layers are exchanged."""
        give = handover.Handover.give
        pod = self.node.run()
        self.node.execute(pod, 'sh', '-c', 'echo kept > /root/file')
        for handed_over in (False, True):
            self.node.call('stop_pod', pod['uuid'], 0)

            def die(files, handed_over=handed_over):
                if handed_over:
                    give(files)
                self.node.containerd.stop(9)
                raise exception.RuntimeFailed(operation='o', why='injected')
            with fixtures.MonkeyPatch(
                    'kata_openstack.compute.pods.handover.Handover.give', die):
                error = self.assertRaises(exception.RuntimeFailed,
                                          self.node.call, 'start_pod', pod)
            self.assertIn('injected', str(error))
            self.node.containerd.start()
            client = self.node.containerd.client
            self.assertEqual(2, len(client.list_containers()))
            self.node.call('start_pod', pod)
            self.assertEqual('kept\n',
                             self.node.execute(pod, 'cat', '/root/file'))
            self.assertEqual(1, len(client.list_containers()))
            self.assertEqual(1, len(client.list_pod_sandboxes()))
        self.node.call('restart_pod', pod, 0)
        self.assertEqual('kept\n',
                         self.node.execute(pod, 'cat', '/root/file'))

    def test_restarts_lose_nothing(self):
        pod = self.node.run()
        self.node.containerd.stop(9)
        self.node.containerd.start()
        self.assertEqual('', self.node.execute(pod, 'true'))
        self.node.service.stop()
        self.node.start()
        self.assertEqual('', self.node.execute(pod, 'true'))
        self.assertTrue(self.node.call('show_pod', pod['uuid'])['ready'])
