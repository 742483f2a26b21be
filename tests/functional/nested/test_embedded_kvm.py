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

"""The canary and a pod of the embedded runtime with KVM, where KVM works."""

import json
import sys

from kata_openstack.runtime.embedded.image import guest_image
from kata_openstack.runtime.embedded.image import kernel
from tests.functional.nested import testbed
from tests.unit import base


class TestEmbeddedWithKvm(base.TestCase):
    def setUp(self):
        super().setUp()
        testbed.skip_unless_possible()

    def test_a_pod(self):
        state_path = testbed.STATE / 'embedded'
        self.prepare_image(state_path / 'embedded')
        result = testbed.run_in_l1(
            [sys.executable, '-m', 'tests.functional.nested.kvm_pod',
             testbed.kernel_package(), state_path],
            memory_mib=3072, timeout=600)
        self.assertEqual(0, result.returncode, result)
        answer = json.loads(result.stdout)
        self.assertEqual('kata-embedded', answer['handler'])
        self.assertEqual('kvm', answer['accelerator'])
        self.assertIn('KVM is hardware', answer['reason'])
        self.assertEqual('kvm', answer['state']['accelerator'])
        canary = answer['canary']
        self.assertIs(False, canary['known'])  # before it ran
        self.assertEqual(['kata', 'kata-embedded'], canary['runtimes'])
        self.assertTrue(canary['handlers']['kata-embedded']['passed'])
        self.assertEqual(0, canary['left'])
        # a kernel of its own, which runs on KVM
        self.assertNotEqual(answer['host']['boot_id'],
                            answer['guest']['boot_id'])
        self.assertIn('kvm-clock', answer['guest']['clocks'])

    def prepare_image(self, folder):
        """What needs no VM is done here, where it is faster."""
        folder.mkdir(parents=True, exist_ok=True)
        unpacked = kernel.unpack(str(testbed.kernel_package()), 'x86_64',
                                 folder / 'kernel', print)
        guest_image.build(unpacked, folder / 'initrd', print)
