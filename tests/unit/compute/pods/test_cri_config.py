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

import json
import uuid

from tests.unit import base

from kata_openstack.compute.pods import cri_config
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import node

CHOICE = node.Choice(handler='kata-qemu', hypervisor='qemu',
                     accelerator='kvm', reason='first', overhead_mib=320,
                     cost_mib=832,
                     overhead_cpus=0.25)


def make_container(**fields):
    return objects.Container(**{'uuid': str(uuid.uuid4()), 'name': 'c',
                                'image': 'i', **fields})


def make_pod(*containers, **fields):
    return objects.Pod(**{
        'uuid': str(uuid.uuid4()), 'kind': 'container', 'project_id': 'p',
        'user_id': 'u', 'containers': list(containers or [make_container()]),
        **fields})


class SandboxTest(base.TestCase):

    def test_resources_are_the_sum(self):
        pod = make_pod(make_container(cpus=0.5, memory_mib=128),
                       make_container(cpus=1.0, memory_mib=64),
                       make_container())
        linux = cri_config.sandbox_config(pod, CHOICE, '/logs', 2).linux
        self.assertEqual(
            (100000, 150000, 192 << 20),
            (linux.resources.cpu_period, linux.resources.cpu_quota,
             linux.resources.memory_limit_in_bytes))
        self.assertEqual((25000, 320 << 20), (
            linux.overhead.cpu_quota, linux.overhead.memory_limit_in_bytes))

    def test_nothing_asked_is_no_limit(self):
        linux = cri_config.sandbox_config(make_pod(), CHOICE, '/', 0).linux
        self.assertEqual(pb.LinuxContainerResources(), linux.resources)

    def test_identity(self):
        pod = make_pod(vifs=[objects.Vif(
            port_id='port', network_id='n', mac_address='m',
            vif_type='ovs')], nameservers=['192.0.2.1'])
        config = cri_config.sandbox_config(pod, CHOICE, '/logs', 2)
        self.assertEqual((pod.uuid, 2), (config.metadata.uid,
                                         config.metadata.attempt))
        self.assertEqual(pod.uuid, config.labels[labels.POD])
        self.assertEqual('first', config.annotations[labels.HANDLER_REASON])
        self.assertEqual('port', json.loads(
            config.annotations[labels.VIFS])[0]['port_id'])
        self.assertEqual(['192.0.2.1'], list(config.dns_config.servers))
        self.assertFalse(config.linux.security_context.privileged)

    def dns(self, **fields):
        config = cri_config.sandbox_config(make_pod(**fields), CHOICE, '/', 0)
        return [list(getattr(config.dns_config, name))
                for name in ('servers', 'searches', 'options')]

    def test_dns(self):
        self.assertEqual(
            [['192.0.2.1'], ['example.org'], []],
            self.dns(nameservers=['192.0.2.1'],
                     search_domains=['example.org']))
        # not empty: else containerd would copy the node's file
        self.assertEqual([[], [], ['ndots:1']], self.dns())


class ContainerTest(base.TestCase):

    def test_all_fields(self):
        container = make_container(
            entrypoint=['/init'], command=['-v'], workdir='/srv', cpus=2.0,
            memory_mib=64, tty=True, stdin=True,
            environment={'KEY': 'value=1'})
        config = cri_config.container_config(
            make_pod(container), container, 'sha256:1', 'kata-qemu', 3,
            '/logs/hosts')
        self.assertEqual(['/init'], list(config.command))
        self.assertEqual(['-v'], list(config.args))
        self.assertEqual('/srv', config.working_dir)
        self.assertEqual([('KEY', 'value=1')],
                         [(e.key, e.value) for e in config.envs])
        self.assertTrue(config.tty and config.stdin)
        self.assertEqual(200000, config.linux.resources.cpu_quota)
        self.assertEqual(f'{container.uuid}.log', config.log_path)
        self.assertEqual([('/etc/hosts', '/logs/hosts', False)],
                         [(m.container_path, m.host_path, m.readonly)
                          for m in config.mounts])

    def test_security_defaults(self):
        container = make_container()
        context = cri_config.container_config(
            make_pod(container), container, 'i', 'h', 0, '/hosts'
        ).linux.security_context
        self.assertTrue(context.HasField('seccomp'))
        self.assertEqual(pb.SecurityProfile.RuntimeDefault,
                         context.seccomp.profile_type)
        self.assertFalse(context.privileged)
        self.assertFalse(context.HasField('capabilities'))
        self.assertEqual(pb.CONTAINER, context.namespace_options.pid)
        self.assertEqual(pb.POD, context.namespace_options.network)

    def test_secrets_are_in_no_label_or_annotation(self):
        container = make_container(environment={'PASSWORD': 's3cret'},
                                   command=['s3cret'])
        pod = make_pod(container)
        config = cri_config.container_config(pod, container, 'i', 'h', 0,
                                             '/hosts')
        sandbox = cri_config.sandbox_config(pod, CHOICE, '/', 0)
        for holder in (config, sandbox):
            self.assertNotIn('s3cret', str(dict(holder.labels))
                             + str(dict(holder.annotations)))


class CheckTest(base.TestCase):

    def test_refused(self):
        for fields in (
                {'containers': []},
                {'hostname': 'a b'}, {'hostname': '-a'},
                {'hostname': 'a' * 64}, {'hostname': 'a\nb'},
                {'nameservers': ['dns.example']},
                {'containers': [make_container(environment={'A=B': ''})]},
                {'containers': [make_container(environment={'': ''})]},
                {'containers': [make_container(workdir='relative')]},
                {'containers': [make_container(cpus=0.0)]},
                {'containers': [make_container(cpus=-1.0)]},
                {'containers': [make_container(memory_mib=1)]}):
            self.assertRaises(exception.InvalidInput, cri_config.check,
                              make_pod(**fields))

    def test_accepted(self):
        cri_config.check(make_pod(
            make_container(cpus=0.01, memory_mib=6, workdir='/'),
            hostname='web-1.example', nameservers=['2001:db8::1']))
