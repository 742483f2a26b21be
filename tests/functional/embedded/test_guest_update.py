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

"""A new guest takes over only after its canary."""

import dataclasses
import os
import pathlib
import shutil

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.image import preparation
from kata_openstack.runtime.hypervisors import embedded
from tests.functional import kata
from tests.unit import base


class TestGuestUpdate(base.TestCase):
    def setUp(self):
        super().setUp()
        self.node = self.useFixture(kata.Node())
        self.conf = self.node.conf
        self.path = embedded.config_path(self.conf)
        before = self.path.read_bytes()
        self.addCleanup(self.path.write_bytes, before)
        self.addCleanup(self.candidate.unlink, missing_ok=True)

    @property
    def candidate(self):
        return self.path.with_name(settings.CANDIDATE)

    def try_candidate(self):
        return self.node.service.canaries.try_candidate(
            'kata-embedded', lambda: preparation.take_over(self.conf))

    def kernel(self):
        return settings.Settings.load(str(self.path)).kernel

    def test_it_takes_over_while_pods_run(self):
        old = self.node.run()
        before = self.kernel()
        self.assertIsNone(preparation.prepare_candidate(self.conf, print))
        package = self.node.containerd.root / 'linux-image.deb'
        shutil.copyfile(self.conf.embedded.kernel_package, package)
        os.utime(package, (1, 1))
        self.conf.set_override('kernel_package', str(package), 'embedded')
        self.assertEqual(self.candidate,
                         preparation.prepare_candidate(self.conf, print))
        self.assertEqual(before, self.kernel())
        record = self.try_candidate()
        self.assertTrue(record.passed, record)
        self.assertNotEqual(before, self.kernel())
        self.assertFalse(self.candidate.exists())
        # no start waits for another canary
        self.node.service.canaries.wake()
        new = self.node.run()
        for pod in (old, new):
            self.assertEqual('up\n', self.node.execute(pod, 'echo', 'up'))

    def test_one_that_does_not_boot(self):
        before = self.path.read_bytes()
        broken = pathlib.Path(self.conf.state_path) / 'broken-initrd'
        broken.write_bytes(b'no initramfs')
        self.addCleanup(broken.unlink)
        dataclasses.replace(
            settings.Settings.load(str(self.path)), initrd=str(broken),
            image_key='broken').save(str(self.candidate))
        record = self.try_candidate()
        self.assertFalse(record.passed)
        self.assertEqual(before, self.path.read_bytes())
        pod = self.node.run()
        self.assertEqual('up\n', self.node.execute(pod, 'echo', 'up'))
