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

"""Errors name the cause and the remedy, and leave nothing behind."""

import pathlib

import fixtures
from zunclient.common.apiclient import exceptions

from tests.e2e import base
from tools.quickstart import images
from tools.quickstart import settings


class BadInputAloneTest(base.AloneTestCase):

    def assert_fails(self, *words, call='run', **arguments):
        """Assert that it ends in Error and the reason has all ``words``."""
        before = self.look()
        container = self.create(call, **arguments)
        failed = self.wait_status(container, 'Error')
        for word in words:
            self.assertIn(word, failed.status_reason or '')
        self.assert_nothing_left(before)

    def test_unknown_image(self):
        self.assert_fails(
            'no-such-image', 'was not found', 'Check the name',
            image=f'{base.stack().registry}/no-such-image:1')

    def test_unreachable_registry(self):
        # no program listens on the port "discard"
        self.assert_fails(
            '127.0.0.1:9', 'cannot be reached', 'Check the registry host',
            image='127.0.0.1:9/busybox:1')

    def test_unknown_runtime(self):
        self.assert_fails('no-such-runtime', 'kata',
                          runtime='no-such-runtime')

    def test_more_memory_than_the_host_has(self):
        # Zun's API refuses the request and creates no container
        error = self.assertRaises(
            exceptions.BadRequest, self.create, 'run',
            memory=str(settings.host_memory_mib() + 1))
        self.assertIn('memory', str(error))

    def test_all_the_memory_that_the_host_has(self):
        # the scheduler knows what the node holds back
        self.assert_fails('not enough hosts',
                          memory=str(settings.host_memory_mib()))

    def test_command_that_the_image_lacks(self):
        self.assert_fails('/no/such/program', 'does not exist',
                          command=['/no/such/program'])

    def test_network_without_a_subnet(self):
        network = base.cloud().network
        created = network.create_network(name=self.name())
        self.addCleanup(network.delete_network, created.id)
        self.assert_fails('no subnet', 'openstack subnet create',
                          nets=[{'network': created.id}])

    def test_an_image_that_wants_more_than_the_node_has(self):
        layout = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        images.write_layout(layout, {'Cmd': ['sh'], 'Labels': {
            'kata-openstack.io/isolation': 'confidential'}}, images.layer())
        name = f'{base.stack().registry}/confidential:1'
        images.push(base.stack(), layout, name)
        self.assert_fails('kata-embedded: its isolation is',
                          'not confidential', image=name)

    def test_a_health_check_that_is_no_number(self):
        self.assert_fails('interval of the health check', 'a whole number',
                          healthcheck={'cmd': 'true', 'interval': 'soon'})
