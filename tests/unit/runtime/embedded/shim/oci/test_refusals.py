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

import copy
import os
import socket

import fixtures

from kata_openstack.runtime.embedded.shim.oci import refusals
from tests.unit import base

# As containerd 1.7 makes it on an Ubuntu node: with an AppArmor profile, an
# OOM score, a CPU set of the kubelet, and limits of 0 for huge pages.
UBUNTU = {
    'ociVersion': '1.1.0', 'hostname': 'web', 'domainname': '',
    'hooks': None,
    'process': {
        'user': {'uid': 0, 'gid': 0, 'additionalGids': [0, 10]},
        'args': ['sh'], 'env': ['PATH=/bin'], 'cwd': '/',
        'capabilities': {'bounding': ['CAP_CHOWN']},
        'apparmorProfile': 'cri-containerd.apparmor.d',
        'selinuxLabel': '', 'oomScoreAdj': 999},
    'root': {'path': 'rootfs'},
    'mounts': [
        {'destination': '/proc', 'type': 'proc', 'source': 'proc',
         'options': ['nosuid', 'noexec', 'nodev']},
        {'destination': '/etc/hosts', 'type': 'bind', 'source': '/etc/hosts',
         'options': ['rbind', 'rprivate', 'rw']}],
    'annotations': {'io.kubernetes.cri.container-type': 'container'},
    'linux': {
        'resources': {
            'devices': [{'allow': False, 'access': 'rwm'}],
            'memory': {'limit': 104857600, 'swap': 104857600},
            'cpu': {'shares': 1024, 'quota': 0, 'period': 100000,
                    'cpus': '0-3', 'mems': '0'},
            'hugepageLimits': [{'pageSize': '2MB', 'limit': 0}],
            'blockIO': {}, 'unified': {}},
        'cgroupsPath': 'kubepods-pod1.slice:cri-containerd:c',
        'namespaces': [
            {'type': 'pid'},
            {'type': 'ipc', 'path': '/proc/9/ns/ipc'},
            {'type': 'uts', 'path': '/proc/9/ns/uts'},
            {'type': 'mount'},
            {'type': 'network', 'path': '/proc/9/ns/net'},
            {'type': 'cgroup'}],
        'maskedPaths': ['/proc/kcore'], 'readonlyPaths': ['/proc/sys'],
        'mountLabel': '', 'rootfsPropagation': ''}}


class RefusalsTest(base.TestCase):

    def _refused(self, words, change):
        config = copy.deepcopy(UBUNTU)
        change(config)
        error = self.assertRaises(refusals.Refused, refusals.check, config)
        self.assertIn(words, str(error))

    def test_an_ubuntu_node(self):
        refusals.check(UBUNTU)
        refusals.check_sandbox(UBUNTU)

    def test_what_a_user_asks_for_is_refused_by_name(self):
        device = {'path': '/dev/net/tun', 'type': 'c', 'major': 10,
                  'minor': 200}
        for words, keys, value in (
                ('a device of the host', ('linux', 'devices'), [device]),
                ('a user namespace', ('linux', 'uidMappings'),
                 [{'containerID': 0, 'hostID': 1000, 'size': 1}]),
                ('"timeOffsets"', ('linux', 'timeOffsets'), {'monotonic': 1}),
                ('"intelRdt"', ('linux', 'intelRdt'), {'closID': 'x'}),
                ('"personality"', ('linux', 'personality'),
                 {'domain': 'LINUX32'}),
                ('OCI hooks', ('hooks',),
                 {'prestart': [{'path': '/bin/true'}]}),
                ('a domain name', ('domainname',), 'example.org'),
                ('block I/O', ('linux', 'resources', 'blockIO'),
                 {'weight': 10}),
                ('cgroup v2', ('linux', 'resources', 'unified'),
                 {'memory.high': '1'}),
                ('huge pages', ('linux', 'resources', 'hugepageLimits'),
                 [{'pageSize': '2MB', 'limit': 1}]),
                ('"scheduler"', ('process', 'scheduler'),
                 {'policy': 'SCHED_FIFO'})):
            def change(config, keys=keys, value=value):
                for key in keys[:-1]:
                    config = config[key]
                config[keys[-1]] = value
            self._refused(words, change)

    def test_namespaces(self):
        def without(kind):
            def change(config):
                config['linux']['namespaces'] = [
                    item for item in config['linux']['namespaces']
                    if item['type'] != kind]
            return change
        self._refused('the processes of the host', without('pid'))
        self._refused('the IPC objects of the host', without('ipc'))
        for kind in ('user', 'time'):
            self._refused(f'a {kind} namespace', lambda config, kind=kind: (
                config['linux']['namespaces'].append({'type': kind})))

    def test_the_network_of_the_host(self):
        config = copy.deepcopy(UBUNTU)
        del config['linux']['namespaces'][4]
        error = self.assertRaises(refusals.Refused, refusals.check_sandbox,
                                  config)
        self.assertIn('the network of the host', str(error))
        config['annotations'][refusals.NETWORK] = 'none'
        refusals.check_sandbox(config)

    def test_mounts(self):
        folder = self.useFixture(fixtures.TempDir()).path
        os.mkfifo(f'{folder}/fifo')
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(f'{folder}/socket')
        for words, item in (
                ("the propagation 'rshared' of the mount /m", {
                    'source': folder, 'options': ['rbind', 'rshared']}),
                ("the propagation 'rslave'", {
                    'source': folder, 'options': ['rbind', 'rslave']}),
                ('other owners (idmap)', {
                    'source': folder, 'options': ['rbind'],
                    'uidMappings': [{'size': 1}]}),
                ('a socket of the host', {
                    'source': f'{folder}/socket', 'options': ['rbind']}),
                ('a pipe of the host', {
                    'source': f'{folder}/fifo', 'options': ['bind']}),
                ('a device of the host, /dev/null', {
                    'source': '/dev/null', 'type': 'bind'})):
            self._refused(words, lambda config, item=item: (
                config['mounts'].append({'destination': '/m', **item})))

    def test_sysctls_are_names(self):
        for name in ('../../etc/passwd', 'net..x', '', 'a b', 'net.core\n'):
            config = copy.deepcopy(UBUNTU)
            config['linux']['sysctl'] = {name: '1'}
            self.assertRaises(refusals.Refused, refusals.check_sandbox,
                              config)
        config['linux']['sysctl'] = {
            'net.core.somaxconn': '9', 'net/ipv4/conf/eth0.1/forwarding': '1',
            'kernel.shm_rmid_forced': '1'}
        refusals.check_sandbox(config)

    def test_limits_larger_than_the_vm(self):
        mib = 1 << 20
        refusals.check_size({'memory': {'limit': 256 * mib},
                             'cpu': {'quota': 200000}}, 256, 2)
        refusals.check_size({'memory': {'limit': -1}, 'cpu': {'quota': -1}},
                            256, 2)
        error = self.assertRaises(
            refusals.Refused, refusals.check_size,
            {'memory': {'limit': 1024 * mib}}, 256, 2)
        self.assertIn('1024 MiB is larger than the VM, which has 256 MiB',
                      str(error))
        error = self.assertRaises(
            refusals.Refused, refusals.check_size,
            {'cpu': {'quota': 75000, 'period': 50000}}, 256, 1)
        self.assertIn('1.5 CPUs is larger than the VM, which has 1',
                      str(error))


class TestRoot(base.TestCase):
    def test_what_a_snapshotter_may_ask_for(self):
        root = {'type': 'overlay', 'source': 'overlay', 'target': '',
                'options': []}
        refusals.check_root([root, {**root, 'type': 'bind'},
                             {**root, 'type': ''}])
        for changed in ({'target': 'layer'}, {'type': 'fuse.nydus'},
                        {'type': 'mkfs/ext4'}):
            error = self.assertRaises(refusals.Refused, refusals.check_root,
                                      [root, {**root, **changed}])
            self.assertIn(*changed.values(), str(error))
            self.assertIn('overlayfs', str(error))
