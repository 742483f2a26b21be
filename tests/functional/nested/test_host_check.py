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

"""`kata-openstack host check` on hosts with and without working KVM."""

import functools
import json
import pathlib
import shlex
import subprocess
import sys

from tests.functional.nested import testbed
from tests.unit import base


def command() -> list[str]:
    script = pathlib.Path(sys.executable).with_name('kata-openstack')
    return [str(script), 'host', 'check', '-f', 'json']


# Each in its own shell, in this order; root counts as any other user without
# what lets it pass file modes.
_WITH_SVM = {
    'all': '',
    'no vsock': 'rm /dev/vhost-vsock &&',
    'no right': 'chown 1 /dev/kvm && chmod 600 /dev/kvm && setpriv '
                '--bounding-set=-dac_override,-dac_read_search'}


@functools.cache
def with_svm() -> dict[str, tuple[int, str, str]]:
    """Run the check in one L1 in each of the states of _WITH_SVM.

    :returns: exit code, standard output and standard error, by state.
    """
    result = testbed.run_in_l1([sys.executable, '-c', _RUN_ALL, json.dumps({
        state: f'{before} {shlex.join(command())}'
        for state, before in _WITH_SVM.items()})])
    if result.returncode:
        raise AssertionError(result)
    return {state: tuple(found)
            for state, found in json.loads(result.stdout).items()}


_RUN_ALL = """
import json, subprocess, sys
print(json.dumps({state: (done.returncode, done.stdout, done.stderr)
    for state, line in json.loads(sys.argv[1]).items()
    for done in [subprocess.run(['sh', '-c', line], capture_output=True,
                                text=True)]}))
"""


class TestHostCheck(base.TestCase):
    def setUp(self):
        super().setUp()
        testbed.skip_unless_possible()

    def check(self, returncode, stdout, stderr):
        self.assertEqual('', stderr)
        answer = json.loads(stdout)
        usable = [h['name'] for h in answer['handlers'] if h['usable']]
        self.assertEqual(0 if usable else 1, returncode)
        return answer, usable

    def test_nested_kvm_is_hardware(self):
        answer, usable = self.check(*with_svm()['all'])
        kvm = answer['kvm']
        self.assertEqual('hardware', kvm['state'], kvm)
        self.assertGreater(kvm['iterations_per_second'], 10_000_000)
        self.assertIs(True, answer['nested'])
        self.assertEqual('usable', answer['vsock']['state'])
        self.assertEqual('kvm', answer['accelerator'])
        self.assertIn('kata-embedded', usable)

    def test_without_vsock_some_handlers_are_left(self):
        answer, usable = self.check(*with_svm()['no vsock'])
        self.assertEqual('hardware', answer['kvm']['state'])
        self.assertEqual('absent', answer['vsock']['state'])
        self.assertIn('kata-embedded', usable)
        reasons = {h['name']: h['reason'] for h in answer['handlers']}
        self.assertIn('vhost-vsock', reasons['kata-qemu'])
        # hybrid vsock needs no device
        self.assertNotIn('vhost-vsock', reasons['kata-clh'])

    def test_kvm_that_may_not_be_opened_is_denied(self):
        returncode, stdout, _ = with_svm()['no right']
        kvm = json.loads(stdout)['kvm']
        self.assertEqual('denied', kvm['state'], kvm)
        self.assertEqual(1, returncode)

    def test_without_svm_kvm_is_absent(self):
        result = testbed.run_in_l1(command(), svm=False, vsock=False)
        answer, usable = self.check(result.returncode, result.stdout,
                                    result.stderr)
        self.assertEqual('absent', answer['kvm']['state'])
        self.assertIn('nested virtualization', answer['kvm']['remedy'])
        self.assertEqual('absent', answer['vsock']['state'])
        self.assertIsNone(answer['accelerator'])
        self.assertEqual([], usable)


class TestThisMachine(base.TestCase):
    """A machine without vmx and svm can only have an interpreting KVM."""

    def test_kvm_without_virtualization_is_never_hardware(self):
        flags = pathlib.Path('/proc/cpuinfo').read_text().split()
        if {'vmx', 'svm'} & set(flags):
            self.skipTest("this machine's CPU can virtualize")
        done = subprocess.run(command(), capture_output=True, text=True)
        self.assertNotEqual('hardware', json.loads(done.stdout)['kvm'][
            'state'])
