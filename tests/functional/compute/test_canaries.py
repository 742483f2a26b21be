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
"""The canary sandbox, with real containerd and VMs."""

import re

from oslo_config import fixture as config_fixture

from kata_openstack.compute import canaries
from kata_openstack.runtime.canary import own_image
from kata_openstack.runtime.canary import records
from kata_openstack.runtime import node
from tests.functional import kata
from tests.unit import base


class BrokenContainerd(kata.Containerd):
    """Its handler names a configuration file that does not exist."""

    def __init__(self):
        super().__init__()
        self._handlers = self._handlers.replace('embedded.json', 'none.json')


class HandlerWithoutVM(kata.Containerd):
    """Its handler uses runc's shim instead of ours."""

    def __init__(self):
        super().__init__()
        self._handlers = re.sub(
            '(ConfigPath|runtime_path) = .*', '', re.sub(
                'runtime_type = .*', 'runtime_type = "io.containerd.runc.v2"',
                self._handlers))


class TestCanary(base.TestCase):
    """No kata-compute serves kata-cni: a canary has no network."""

    def start(self, containerd):
        self.containerd = self.useFixture(containerd)
        self.conf = self.containerd.conf
        config = self.useFixture(config_fixture.Config(self.conf))
        kata.configure(self.conf)  # the fixture resets all options
        config.config(run_path=str(self.containerd.root / 'run'))
        config.config(group='canary', wait=120)
        config.config(group='containerd', address=self.containerd.address)
        self.here = node.Node(self.conf)

    def canaries(self):
        made = canaries.Canaries(self.conf, self.containerd.client,
                                 self.here, lambda: None)
        self.addCleanup(made.stop)
        return made

    def state(self):
        return next(s for s in self.here.handlers(
            self.containerd.client.handlers()) if s.name == 'kata-embedded')

    def test_it_runs_and_is_gone(self):
        self.start(kata.Containerd())
        self.assertFalse(self.canaries().start())
        self.assertTrue(self.state().usable, self.state())
        record = records.load(records.path(self.conf))['kata-embedded']
        self.assertTrue(record.passed)
        self.assertTrue(self.containerd.client.image_status(
            own_image.image().name).HasField('image'))
        self.assertGreater(record.seconds, 0)
        self.assertEqual([], list(
            self.containerd.client.list_pod_sandboxes()))
        self.assertTrue(self.canaries().start())  # no canary is left to run

    def test_a_handler_that_does_not_start(self):
        self.start(BrokenContainerd())
        self.assertFalse(self.canaries().start())
        state = self.state()
        self.assertFalse(state.usable)
        self.assertIn('none.json', state.reason)
        self.assertEqual([], list(
            self.containerd.client.list_pod_sandboxes()))

    def test_a_handler_without_a_vm(self):
        self.start(HandlerWithoutVM())
        self.assertFalse(self.canaries().start())
        state = self.state()
        self.assertFalse(state.usable)
        self.assertIn('on the kernel of this host', state.reason)
        self.assertEqual([], list(
            self.containerd.client.list_pod_sandboxes()))
