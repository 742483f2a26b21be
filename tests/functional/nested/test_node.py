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

"""The host check and a pod on a compute node where KVM works.

All tests share one boot of the node, which takes most of the time.
"""

import functools
import json
import pathlib
import subprocess
import sys

from kata_openstack.runtime.embedded.image import guest_image
from kata_openstack.runtime.embedded.image import kernel
from tests.functional.nested import testbed
from tests.unit import base

_STATE_PATH = testbed.STATE / 'embedded'


@functools.cache
def outcomes() -> dict[str, tuple[int, str, str]]:
    """Exit code, standard output and standard error of what l1.py runs."""
    package = testbed.kernel_package()
    prepare_image(str(package))
    result = testbed.run_in_l1(
        [sys.executable, '-m', 'tests.functional.nested.l1', package,
         _STATE_PATH], memory_mib=3072, timeout=600)
    if result.returncode:
        raise AssertionError(result)
    return {name: tuple(found)
            for name, found in json.loads(result.stdout).items()}


def prepare_image(package: str) -> None:
    """What needs no VM is done here, where it is faster."""
    folder = _STATE_PATH / 'embedded'
    folder.mkdir(parents=True, exist_ok=True)
    unpacked = kernel.unpack(package, 'x86_64', folder, None, print)
    guest_image.build(unpacked, folder, print)


class TestNodeWithKvm(base.TestCase):
    def setUp(self):
        super().setUp()
        testbed.skip_unless_possible()

    def check(self, name):
        """Return what `kata-openstack host check` says, and its handlers."""
        returncode, stdout, stderr = outcomes()[name]
        self.assertEqual('', stderr)
        answer = json.loads(stdout)
        usable = [h['name'] for h in answer['handlers'] if h['usable']]
        self.assertEqual(0 if usable else 1, returncode)
        return answer, usable

    def test_nested_kvm_is_hardware(self):
        answer, usable = self.check('host_check')
        kvm = answer['kvm']
        self.assertEqual('hardware', kvm['state'], kvm)
        self.assertGreater(kvm['iterations_per_second'], 10_000_000)
        self.assertIs(True, answer['nested'])
        self.assertEqual('usable', answer['vsock']['state'])
        self.assertEqual('kvm', answer['accelerator'])
        self.assertIn('kata-embedded', usable)

    def test_without_vsock_some_handlers_are_left(self):
        answer, usable = self.check('without_vsock')
        self.assertEqual('hardware', answer['kvm']['state'])
        self.assertEqual('absent', answer['vsock']['state'])
        self.assertIn('kata-embedded', usable)
        reasons = {h['name']: h['reason'] for h in answer['handlers']}
        self.assertIn('vhost-vsock', reasons['kata-qemu'])
        # hybrid vsock needs no device
        self.assertNotIn('vhost-vsock', reasons['kata-clh'])

    def test_a_pod(self):
        returncode, stdout, stderr = outcomes()['pod']
        self.assertEqual(0, returncode, stderr)
        answer = json.loads(stdout)
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


class TestThisMachine(base.TestCase):
    """A machine without vmx and svm can only have an interpreting KVM."""

    def test_kvm_without_virtualization_is_never_hardware(self):
        flags = pathlib.Path('/proc/cpuinfo').read_text().split()
        if {'vmx', 'svm'} & set(flags):
            self.skipTest("this machine's CPU can virtualize")
        done = subprocess.run(testbed.host_check(), capture_output=True,
                              text=True)
        self.assertNotEqual('hardware', json.loads(done.stdout)['kvm'][
            'state'])
