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

import tempfile

from kata_openstack.runtime.embedded.shim.oci import spec
from tests.unit import base


class Share:
    sandbox = 'pod'

    def __init__(self, inside):
        self.inside = inside
        self.binds = []
        self.copies = []

    def add_bind(self, container, source, readonly):
        self.binds.append((container, source, readonly))
        return f'{self.inside}/.volumes/{len(self.binds)}'

    def add_copy(self, container, number, source):
        self.copies.append((container, source))
        return f'{self.inside}/{container}/m{number}/file'


class TestSpec(base.TestCase):
    def setUp(self):
        super().setUp()
        self.share, self.live = Share('/share'), Share('/live')
        self.config = {
            'ociVersion': '1.2.0',
            'process': {'args': ['sh'], 'cwd': '/', 'terminal': False,
                        'apparmorProfile': 'x', 'selinuxLabel': 'y',
                        'oomScoreAdj': -998, 'noNewPrivileges': True},
            'root': {'path': 'rootfs', 'readonly': True},
            'hostname': 'h',
            'mounts': [
                {'destination': '/proc', 'type': 'proc', 'source': 'proc'},
                {'destination': '/dev/shm', 'type': 'bind',
                 'source': '/run/pod/shm', 'options': ['rbind', 'ro']},
                {'destination': '/sys/fs/cgroup', 'type': 'cgroup',
                 'source': 'cgroup', 'options': ['rw']},
                {'destination': '/data', 'type': 'bind', 'source': '/vol',
                 'options': ['rbind', 'ro']},
                {'destination': '/etc/hosts', 'source': '/h',
                 'options': ['bind']}],
            'linux': {
                'namespaces': [
                    {'type': 'pid'}, {'type': 'mount'},
                    {'type': 'ipc', 'path': '/proc/1/ns/ipc'},
                    {'type': 'uts', 'path': '/proc/1/ns/uts'},
                    {'type': 'network', 'path': '/run/netns/n'}],
                'sysctl': {'net.ipv4.ip_forward': '1'},
                'cgroupsPath': '/k8s.io/c', 'seccomp': {'x': 1},
                'resources': {
                    'memory': {'limit': 5, 'kernel': 3},
                    'cpu': {'shares': 2, 'quota': -1, 'cpus': '0-3'},
                    'devices': [{'allow': False}]},
                'maskedPaths': ['/proc/kcore']}}

    def guest(self, terminal=False):
        return spec.for_guest(self.config, 'c', terminal, self.share, self.live)

    def test_nothing_of_the_host_is_passed_on(self):
        guest = self.guest()
        # the guest's crun rejects a newer version than it knows
        self.assertEqual('1.0.0', guest['ociVersion'])
        self.assertNotIn('hostname', guest)
        self.assertEqual({'path': '/share/c/rootfs', 'readonly': True},
                         guest['root'])
        self.assertEqual({'args': ['sh'], 'cwd': '/', 'terminal': False,
                          'noNewPrivileges': True}, guest['process'])
        self.assertEqual('/containers/c', guest['linux']['cgroupsPath'])
        self.assertNotIn('sysctl', guest['linux'])
        self.assertEqual({'memory': {'limit': 5},
                          'cpu': {'shares': 2, 'quota': -1},
                          'devices': [{'allow': False}]},
                         guest['linux']['resources'])

    def test_namespaces_of_the_pod_are_the_vms(self):
        self.assertEqual(
            [{'type': 'pid'}, {'type': 'mount'}, {'type': 'cgroup'}],
            self.guest()['linux']['namespaces'])

    def test_what_protects_the_container_stays(self):
        linux = self.guest()['linux']
        self.assertEqual({'x': 1}, linux['seccomp'])
        self.assertEqual(['/proc/kcore'], linux['maskedPaths'])

    def test_mounts(self):
        mounts = {item['destination']: item
                  for item in self.guest()['mounts']}
        self.assertEqual(self.config['mounts'][0], mounts['/proc'])
        self.assertEqual('/run/shm', mounts['/dev/shm']['source'])
        # writable only in a privileged container, as in Docker
        self.assertEqual(['rw'], mounts['/sys/fs/cgroup']['options'])
        self.assertEqual('/live/.volumes/1', mounts['/data']['source'])
        self.assertEqual('/live/.volumes/2', mounts['/etc/hosts']['source'])
        self.assertEqual('bind', mounts['/etc/hosts']['type'])
        self.assertEqual([('c', '/vol', True), ('c', '/h', False)],
                         self.live.binds)

    def test_what_nobody_else_changes_is_not_live(self):
        cri = '/var/lib/containerd/io.containerd.grpc.v1.cri'
        container, pod = 'ab' * 32, 'cd' * 32
        for source, is_live in (
                (f'{cri}/containers/{container}/volumes/{pod}', False),
                (f'{cri}/sandboxes/{pod}/hosts', False),
                (f'{cri}/containers/{container}/other', True),
                (f'{cri}/containers/short/volumes/x', True),
                ('/volumes/containers/x', True), (cri, True)):
            for share in (self.share, self.live):
                share.binds.clear()
            self.config['mounts'][3]['source'] = source
            self.assertEqual(
                '/live/.volumes/1' if is_live else '/share/.volumes/1',
                self.guest()['mounts'][3]['source'])
            self.assertEqual(is_live,
                             ('c', source, True) in self.live.binds)

    def test_a_file_of_the_pod_is_not_written_on_the_host(self):
        with tempfile.NamedTemporaryFile() as file:
            for destination in ('/etc/hosts', '/etc/resolv.conf',
                                '/etc//hostname'):
                self.config['mounts'][4] = {
                    'destination': destination, 'source': file.name,
                    'type': 'bind', 'options': ['rbind', 'rw']}
                self.share.copies.clear()
                self.assertEqual('/share/c/m4/file',
                                 self.guest()['mounts'][4]['source'])
                self.assertEqual([('c', file.name)], self.share.copies)
            self.share.copies.clear()
            # these are shared: a file that cannot be written, and a volume
            for destination, option in (('/etc/hosts', 'ro'),
                                        ('/data/hosts', 'rro'),
                                        ('/data/hosts', 'rw')):
                self.config['mounts'][4].update(
                    destination=destination, options=['rbind', option])
                source = self.guest()['mounts'][4]['source']
                self.assertTrue(source.startswith('/live/.volumes/'))
                self.assertEqual(('c', file.name, option != 'rw'),
                                 self.live.binds[-1])
            self.assertEqual([], self.share.copies)

    def test_a_volume_at_dev_shm_is_not_the_pods(self):
        self.config['mounts'][1]['source'] = '/volumes/shm'
        mounts = self.guest()['mounts']
        self.assertEqual('/live/.volumes/1', mounts[1]['source'])

    def test_programs_have_random_addresses(self):
        self.assertEqual({'domain': 'LINUX'},
                         self.guest()['linux']['personality'])

    def test_the_terminal_is_what_the_request_says(self):
        self.assertTrue(self.guest(True)['process']['terminal'])
