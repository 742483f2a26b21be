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

"""Updates of the guest, with a script in the place of kata-openstack."""

import pathlib
import sys
import threading
from unittest import mock

import fixtures
from oslo_config import cfg

from kata_openstack.compute import guest_updates
from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.runtime.canary import records
from kata_openstack.runtime.embedded.image import preparation
from kata_openstack.runtime.hypervisors import embedded
from tests.unit import base


def record(error=''):
    return records.Record(key='', passed=not error, at=0, seconds=1.0,
                          error=error)


class GuestUpdatesTest(base.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        config = self.root / 'kata.conf'
        config.write_text(f'[DEFAULT]\nstate_path = {self.root}/lib\n')
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.conf([f'--config-file={config}'])
        embedded.config_path(self.conf).parent.mkdir(parents=True)
        embedded.config_path(self.conf).touch()
        self.useFixture(fixtures.MockPatchObject(
            sys, 'executable', f'{self.root}/python'))
        self.canaries = mock.Mock()
        self.canaries.try_candidate.return_value = record()
        self.updates = guest_updates.GuestUpdates(self.conf, self.canaries)
        self.take_over = self.useFixture(fixtures.MockPatchObject(
            preparation, 'take_over')).mock

    def script(self, text):
        path = self.root / 'kata-openstack'
        path.write_text(f'#!/bin/sh\necho "$@" > {self.root}/arguments\n'
                        f'{text}\n')
        path.chmod(0o755)

    def update(self, level='INFO'):
        """Update; return the lines of the log."""
        with self.assertLogs(guest_updates.__name__, level) as logs:
            self.updates.update()
        return [r.getMessage() for r in logs.records]

    def test_a_new_guest(self):
        self.script('echo downloading >&2; echo /path')
        lines = self.update()
        self.assertEqual(
            f'--config-file={self.root}/kata.conf embedded update\n',
            (self.root / 'arguments').read_text())
        self.assertIn('Update of the guest: downloading', lines[0])
        self.assertIn('start with the new guest', lines[1])
        (handler, take_over), _ = self.canaries.try_candidate.call_args
        self.assertEqual('kata-embedded', handler)
        take_over()
        self.take_over.assert_called_once_with(self.conf)

    def test_the_newest_guest(self):
        self.script('exit 0')
        self.updates.update()
        self.canaries.try_candidate.assert_not_called()

    def test_a_node_without_it(self):
        embedded.config_path(self.conf).unlink()
        self.updates.update()
        self.assertFalse((self.root / 'arguments').exists())

    def test_one_line_without_a_network(self):
        self.script('echo unpacking >&2; echo "no route" >&2; exit 1')
        [line] = self.update()
        self.assertIn('was not updated: Building it failed: no route', line)
        self.canaries.try_candidate.assert_not_called()

    def test_a_canary_that_fails(self):
        self.script('echo /path')
        self.canaries.try_candidate.return_value = record('it hangs')
        [line] = self.update()
        self.assertIn('the canary sandbox of the new one failed: it hangs',
                      line)

    def test_containerd_is_down(self):
        self.script('echo /path')
        self.canaries.try_candidate.side_effect = (
            exception.ContainerdUnavailable(address='x', why='down'))
        [line] = self.update()
        self.assertIn('was not updated', line)

    def test_a_build_ends_with_the_service(self):
        self.script('echo > $(dirname $0)/begun; exec sleep 60')
        self.updates._interval = 0.01
        self.updates.start()
        while not (self.root / 'begun').exists():
            threading.Event().wait(0.01)
        self.updates.stop()
        self.updates._thread.join(10)
        self.assertFalse(self.updates._thread.is_alive())
        self.canaries.try_candidate.assert_not_called()

    def test_no_updates(self):
        self.conf.set_override('update_interval', 0, 'embedded')
        updates = guest_updates.GuestUpdates(self.conf, self.canaries)
        updates.start()
        self.assertIsNone(updates._thread.ident)
        updates.stop()
