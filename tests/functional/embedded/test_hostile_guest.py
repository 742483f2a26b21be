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

"""A guest that attacks its shim harms only its own pod."""

from concurrent import futures
import os
import pathlib
import re
import tempfile

from kata_openstack import exception
from kata_openstack.runtime.embedded.common import mounts
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.vm import vm_memory
from tests.functional.embedded import base
from tests.functional.embedded import hostile

_SECONDS = 3  # that an attack lasts before the shim is looked at
_MOST_MIB = 100  # of a shim, which has 30 without an attack


class TestHostileGuest(base.EmbeddedTestCase):
    """See :mod:`tests.functional.embedded.hostile` for the attacks."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.guest = pathlib.Path(folder.name)

    def configuration(self):
        """The tests of the class have one guest and one template."""
        path = self.guest / 'embedded.json'
        if not path.exists():
            hostile.configuration(self.settings, self.guest)
            vm_memory.mount(settings.Settings.load(str(path)))
            self.addClassCleanup(syscalls.umount, f'{self.guest}/memory',
                                 syscalls.MNT_DETACH)
        self.settings = settings.Settings.load(str(path))
        return str(path)

    def setUp(self):
        super().setUp()
        # of an exec without an answer
        self.containerd.conf.set_override('timeout', 10, 'containerd')
        self.neighbour = self.pod()
        self.well = self.neighbour.run()

    def attack(self, name):
        """Let the guest of a new pod attack.

        :returns: the pod, its state, its container, and what the caller
            of exec was told.
        """
        pod = self.pod()
        container, state = pod.run(), pod.state
        try:
            told = self.client.exec_sync(container, ['evil', name], _SECONDS)
        except exception.KataError as e:
            told = e
        self.assertLess(peak_mib(state['shim']), _MOST_MIB)
        return pod, state, container, str(told)

    def assert_harmless(self, pod, state):
        """The neighbour is well, and nothing of the pod can stay."""
        self.assertEqual('well\n', self.neighbour.execute(
            self.well, 'echo', 'well'))
        pod.remove()
        self.wait_for(lambda: not os.path.exists(state['folder']),
                      'its folder is removed')
        self.assertEqual([], mounts.below(state['folder']))
        for name in ('shim', 'qemu', 'virtiofsd'):
            self.wait_for(lambda name=name: not os.path.exists(
                f'/proc/{state[name]}/exe'), f'{name} has ended')
        self.assertLess(self.containerd.log.stat().st_size, 1 << 20)

    def test_what_ends_the_vm(self):
        for name, reason in (
                ('death', 'QEMU has ended'),
                ('reboot', 'QEMU has ended'),
                ('length', 'invalid frame length 4294967295'),
                ('json', 'violates the protocol')):
            with self.subTest(name):
                pod, state, container, _ = self.attack(name)
                self.assertEqual(137, pod.wait(container).exit_code)
                self.assertIn(reason, self.containerd.log.read_text())
                self.assert_harmless(pod, state)

    def test_an_agent_that_does_not_stop(self):
        with futures.ThreadPoolExecutor() as pool:
            attacked = list(pool.map(
                self.attack, ('silence', 'flood', 'output')))
            list(pool.map(lambda found: self.assert_harmless(*found[:2]),
                          attacked))

    def test_lies(self):
        pod, state, container, told = self.attack('error')
        self.assertIn('evil evil', told)
        self.assertTrue(told.isprintable(), told)
        self.assertLess(len(told), 3000)
        self.assertIn('done', self.attack_again(pod, container, 'oom'))
        self.assertIn('done', self.attack_again(pod, container, 'figures'))
        stats = self.client.container_stats(container)
        self.assertEqual(0, stats.memory.working_set_bytes.value)
        self.attack_again(pod, container, 'exits')
        self.assertEqual('OOMKilled', pod.wait(container).reason)
        self.assert_harmless(pod, state)

    def attack_again(self, pod, container, name):
        error = self.assertRaises(
            exception.KataError, self.client.exec_sync, container,
            ['evil', name], _SECONDS)
        self.assertLess(peak_mib(pod.state['shim']), _MOST_MIB)
        return str(error)


def peak_mib(pid):
    """The most memory that a process had; 0 if it has ended."""
    try:
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
    except FileNotFoundError:
        return 0
    found = re.search(r'^VmHWM:\s+(\d+) kB', status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0
