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

"""Start errors, signals, layers, traits, CPU figures."""

import os
import pathlib
import shutil

import fixtures
import grpc
from tests.unit import base
from tests.unit import fake_containerd

from kata_openstack.compute import containers
from kata_openstack.compute import inventory
from kata_openstack.compute import labels
from kata_openstack.compute import layers
from kata_openstack.compute import network
from kata_openstack.compute import starterror
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.containerd.protos import types_pb2
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


class KillTest(base.TestCase):

    def test_task_that_ended_just_now(self):
        fake = self.useFixture(fake_containerd.FakeContainerd())
        client = cri.CriClient(fake.conf)
        self.addCleanup(client.close)
        fake.state.containers['c'] = pb.Container(
            id='c', labels={labels.CONTAINER: 'uuid'},
            state=pb.CONTAINER_RUNNING)
        fake.state.fail['Kill'] = (grpc.StatusCode.NOT_FOUND, 'no task')
        subject = containers.Containers(
            fake.conf, client, native.NativeClient(fake.conf, client.channel),
            network.Network(fake.conf, client))
        error = self.assertRaises(exception.Conflict, subject.kill, 'uuid',
                                  'TERM')
        self.assertIn('uuid is not running', str(error))


class HandoverTest(base.TestCase):
    """A death at any step is survived, in either direction."""

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.left = None  # renames until the death
        self.useFixture(fixtures.MonkeyPatch('os.rename', self.rename))

    def rename(self, source, target, real=os.rename):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise OSError('injected')
        real(source, target)

    def mounts(self, container_id):
        return [types_pb2.Mount(type='overlay', options=[
            f'upperdir={self.root}/{container_id}/fs'])]

    def handover(self):
        return layers.Handover(self, 'old', 'new')

    def make(self):
        for name in ('old', 'new'):
            shutil.rmtree(self.root / name, ignore_errors=True)
            (self.root / name / 'fs').mkdir(parents=True)
            (self.root / name / 'fs' / 'of').write_text(name)

    def die(self, method, left):
        self.left = left
        self.assertRaises(OSError, method)
        self.left = None

    def assert_files(self, *expected):
        self.assertEqual(expected, tuple(
            (self.root / name / 'fs' / 'of').read_text()
            for name in ('old', 'new')))
        self.assertEqual(['fs'], os.listdir(self.root / 'old'))

    def test_repeated(self):
        self.make()
        for _ in range(2):
            self.handover().give()
            self.assert_files('new', 'old')
        for _ in range(2):
            self.handover().take_back()
            self.assert_files('old', 'new')
            self.assertEqual(['fs'], os.listdir(self.root / 'new'))

    def test_death_while_given(self):
        for left in range(3):
            self.make()
            self.die(self.handover().give, left)
            self.handover().give()
            self.assert_files('new', 'old')

            self.make()
            self.die(self.handover().give, left)
            self.handover().take_back()
            self.assert_files('old', 'new')

    def test_death_while_taken_back(self):
        for left in range(3):
            self.make()
            self.handover().give()
            self.die(self.handover().take_back, left)
            self.handover().take_back()
            self.assert_files('old', 'new')

            self.make()
            self.handover().give()
            self.die(self.handover().take_back, left)
            self.handover().give()
            self.assert_files('new', 'old')

    def test_what_was_handed_on_is_let_be(self):
        self.make()
        self.handover().give()
        os.rename(self.root / 'new' / 'fs', self.root / 'newer')
        (self.root / 'new' / 'fs').mkdir()
        (self.root / 'new' / 'fs' / 'of').write_text('newer')
        self.handover().give()
        self.assert_files('new', 'newer')


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
