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

"""Start errors, signals, traits, CPU figures."""

from tests.unit import base

from kata_openstack.compute import containers
from kata_openstack.compute import inventory
from kata_openstack.compute import starterror
from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import node


class StartErrorTest(base.TestCase):

    def test_missing_command(self):
        for text, name in [
                ('exec: "/nope": stat /nope: no such file or directory',
                 '/nope'),
                ('exec: "nope": executable file not found in $PATH', 'nope'),
                ('executable file `nope` not found in $PATH: No such file',
                 'nope'),
                ("executable file 'nope' not found in $PATH", 'nope'),
                ('open executable: No such file or directory', ''),
                ('mount /x: no such file or directory', None),
                ('permission denied', None)]:
            self.assertEqual(name, starterror.missing_command(text), text)

    def test_refine(self):
        error = starterror.refine(
            exception.RuntimeFailed(operation='StartContainer',
                                    why='open executable: No such file'),
            '/asked/for', 'image-1')
        self.assertIsInstance(error, exception.CommandNotFound)
        self.assertIn('/asked/for', str(error))
        self.assertIn('image-1', str(error))
        other = exception.RuntimeFailed(operation='o', why='w')
        self.assertIs(other, starterror.refine(other, 'c', 'i'))


class SignalTest(base.TestCase):

    def test_names_and_numbers(self):
        for name, number in [('9', 9), ('SIGKILL', 9), ('kill', 9),
                             ('term', 15), ('SIGTERM', 15), ('64', 64),
                             ('sigusr1', 10)]:
            self.assertEqual(number, containers.signal_number(name))

    def test_refused(self):
        for name in ('', '0', '65', '-9', 'SIGNONE', '9; true', 'None'):
            self.assertRaises(exception.InvalidInput,
                              containers.signal_number, name)


class CpuMeterTest(base.TestCase):

    @staticmethod
    def reading(seconds, used, rate=0):
        return pb.CpuUsage(
            timestamp=int(seconds * 1e9),
            usage_core_nano_seconds=pb.UInt64Value(value=int(used * 1e9)),
            usage_nano_cores=pb.UInt64Value(value=int(rate * 1e9)))

    def test_two_readings(self):
        meter = containers._CpuMeter()
        self.assertEqual(0.0, meter.percent('c', self.reading(1, 5)))
        self.assertEqual(25.0, meter.percent('c', self.reading(3, 5.5)))
        # restarted: the sum began anew
        self.assertEqual(0.0, meter.percent('c', self.reading(5, 0.1)))

    def test_containerds_own_rate(self):
        self.assertEqual(150.0, containers._CpuMeter().percent(
            'c', self.reading(1, 5, rate=1.5)))


class TraitsTest(base.TestCase):

    def test_usable_ones_only(self):
        states = [
            node.HandlerState(name='kata-qemu', hypervisor='qemu',
                              usable=False, reason='', accelerator='kvm'),
            node.HandlerState(name='kata-embedded', hypervisor='embedded',
                              usable=True, reason='', accelerator='tcg')]
        self.assertEqual(
            {'CUSTOM_KATA': True, 'CUSTOM_KATA_EMBEDDED': True,
             'CUSTOM_KATA_TCG': True}, inventory.traits(states))
        self.assertEqual({}, inventory.traits(states[:1]))
