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

import fixtures

from kata_openstack.runtime.embedded.shim import bootstrap
from kata_openstack.runtime.embedded.shim.oci import grouping
from kata_openstack.runtime.embedded.shim import program
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.vm.templates import make_template
from kata_openstack.runtime.embedded.vm import users
from kata_openstack.runtime.embedded.vm import vm_memory
from tests.unit import base
from tests.unit.runtime.embedded.vm import test_placing

_TYPE = 'io.kubernetes.cri.container-type'
_ID = 'io.kubernetes.cri.sandbox-id'


class TestGrouping(base.TestCase):
    def test_sandbox_container_and_neither(self):
        pod = {'annotations': {_TYPE: 'sandbox', _ID: 's'}}
        container = {'annotations': {_TYPE: 'container', _ID: 's'}}
        self.assertTrue(grouping.is_sandbox(pod))
        self.assertFalse(grouping.is_sandbox(container))
        self.assertFalse(grouping.is_sandbox({}))
        self.assertEqual('s', grouping.sandbox_of(pod, 's'))
        self.assertEqual('s', grouping.sandbox_of(container, 'c'))
        self.assertEqual('c', grouping.sandbox_of({}, 'c'))
        self.assertEqual('c', grouping.sandbox_of({'annotations': None}, 'c'))

    def test_ids_that_are_paths_are_refused(self):
        self.assertEqual('', program.problem('a' * 64))
        for ident in ('', '.', '..', 'a/b', '/etc'):
            self.assertIn('invalid or missing -id', program.problem(ident))

    def test_ids_that_the_runtime_uses_itself_are_refused(self):
        """The folders of sandboxes are next to its own files."""
        conf = test_placing.config(
            run_path=self.useFixture(fixtures.TempDir()).path)
        users.take(conf, 'sandbox')
        with vm_memory.lock(conf):
            bootstrap._listen(conf, 'n', 'sandbox').close()
        os.mkdir(conf.memory_path)
        names = set(os.listdir(conf.run_path))
        self.assertEqual({'lock', 'memory', 's', 'users'}, names)
        for ident in (*names, vm_memory.TEMPLATE, make_template.LOCK):
            self.assertIn('itself uses', program.problem(ident))

    def test_options_of_the_handler(self):
        def any_of(kind):
            return messages.ANY.encode({
                'type_url': kind, 'value': messages.OPTIONS.encode(
                    {'config_path': '/some/file.json'})})
        self.assertEqual('/some/file.json', bootstrap.read_options(
            any_of('runtimeoptions.v1.Options')))
        self.assertEqual('/some/file.json', bootstrap.read_options(
            any_of('types.containerd.io/runtimeoptions.v1.Options')))
        self.assertEqual('', bootstrap.read_options(
            any_of('containerd.runc.v1.Options')))
        for data in (b'', b'\xff\xff', b'\x0a\x7f'):
            self.assertEqual('', bootstrap.read_options(data))

    def test_network_namespace(self):
        for namespaces, path in (
                ([{'type': 'network', 'path': '/run/netns/x'}],
                 '/run/netns/x'),
                ([{'type': 'pid', 'path': '/x'}, {'type': 'network'}], ''),
                (None, '')):
            self.assertEqual(path, bootstrap.network_namespace(
                {'linux': {'namespaces': namespaces}}))
        self.assertEqual('', bootstrap.network_namespace({}))
