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

"""The program that measures KVM, in this process, with fake guests."""

import os
import pathlib
import signal
import time

import fixtures

from kata_openstack.runtime.host.checks import kvm_guest
from tests.unit import base


class Guest:
    """Counts ``speed`` iterations per second, after ``entry`` seconds."""

    def __init__(self, speed, entry=0.0):
        self.speed = speed
        self.entry = entry
        self.loops = []

    def loop(self, iterations):
        self.loops.append(iterations)
        return self.entry + iterations / self.speed

    def left(self):
        return 0


class StallingGuest(Guest):
    """Waits for a CPU in some of its loops.

    :param stalls: seconds, by the number of the loop (from 0)
    """

    def __init__(self, speed, stalls):
        super().__init__(speed)
        self.stalls = stalls

    def loop(self, iterations):
        stall = self.stalls.get(len(self.loops), 0.0)
        return super().loop(iterations) + stall


class HangingGuest(Guest):
    """Uses CPU time in the first long loop until it is interrupted."""

    def loop(self, iterations):
        if iterations > 1:
            while True:
                pass
        return 0.0

    def left(self):
        return kvm_guest.FIRST_LOOP - 7


class SlowGuest(HangingGuest):
    """Ends the first long loop in time, but not the next one."""

    def loop(self, iterations):
        if iterations > 1 and not self.loops:
            self.loops.append(iterations)
            return iterations / self.speed
        return super().loop(iterations)


class TestGuestSpeed(base.TestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(signal.signal, signal.SIGPROF,
                        signal.getsignal(signal.SIGPROF))

    def test_a_slow_guest_is_asked_for_little(self):
        guest = Guest(speed=500_000)
        answer = kvm_guest.guest_speed(guest)
        self.assertAlmostEqual(
            500_000, answer['iterations'] / answer['seconds'], delta=1e3)
        self.assertEqual(
            [1] * 4 + [kvm_guest.FIRST_LOOP] * kvm_guest.RUNS, guest.loops)

    def test_a_stall_makes_no_guest_slow(self):
        # a fast guest waits in the first long loop, in one in between, or in
        # the one that is long enough
        for at in (4, 7, 10, 11):
            with self.subTest(at=at):
                guest = StallingGuest(3e9, {at: 0.005})
                answer = kvm_guest.guest_speed(guest)
                self.assertAlmostEqual(
                    3e9, answer['iterations'] / answer['seconds'],
                    delta=1e6)
                self.assertGreaterEqual(answer['seconds'],
                                        kvm_guest.LONG_ENOUGH)

    def test_two_stalls_in_a_row(self):
        answer = kvm_guest.guest_speed(
            StallingGuest(3e9, {4: 0.02, 5: 0.02}))
        self.assertAlmostEqual(
            3e9, answer['iterations'] / answer['seconds'], delta=1e6)

    def test_the_cost_of_an_entry_does_not_count(self):
        answer = kvm_guest.guest_speed(Guest(speed=150e6, entry=0.015))
        self.assertAlmostEqual(
            150e6, answer['iterations'] / answer['seconds'], delta=1e3)
        self.assertAlmostEqual(0.015, answer['entry_seconds'], places=6)

    def test_a_guest_that_is_fast_beyond_measure_ends(self):
        answer = kvm_guest.guest_speed(Guest(speed=1e15))
        self.assertGreaterEqual(answer['iterations'],
                                kvm_guest.LONGEST_LOOP)

    def test_an_interrupted_guest_has_done_what_it_has_done(self):
        answer = kvm_guest.guest_speed(HangingGuest(1))
        self.assertTrue(answer['timed_out'])
        self.assertEqual(7, answer['iterations'])
        self.assertGreater(answer['seconds'], 0)
        self.assertEqual((0.0, 0.0), signal.getitimer(signal.ITIMER_PROF))


    def test_a_run_that_ended_counts_if_the_next_is_interrupted(self):
        self.useFixture(fixtures.MockPatchObject(
            kvm_guest, 'TIME_LIMIT', 0.05))
        answer = kvm_guest.guest_speed(SlowGuest(30_000))
        self.assertAlmostEqual(
            30_000, answer['iterations'] / answer['seconds'], delta=1)
        self.assertEqual((0.0, 0.0), signal.getitimer(signal.ITIMER_PROF))


class TestNative(base.TestCase):
    def test_the_loop_counts(self):
        loop = kvm_guest.native_loop()
        begin = time.perf_counter()
        seconds = loop(1_000_000)
        self.assertGreater(seconds, 0)
        self.assertLessEqual(seconds, time.perf_counter() - begin)

    def test_speed(self):
        answer = kvm_guest.native_speed()
        self.assertGreater(answer['iterations'], 0)
        self.assertGreater(answer['seconds'], 0)

    def test_a_stall_makes_it_no_slower(self):
        guest = StallingGuest(3e9, {0: 0.005})
        self.useFixture(fixtures.MockPatchObject(
            kvm_guest, 'native_loop', lambda: guest.loop))
        answer = kvm_guest.native_speed()
        self.assertAlmostEqual(
            3e9, answer['iterations'] / answer['seconds'], delta=1e6)


class TestMeasure(base.TestCase):
    def test_no_such_device(self):
        answer = kvm_guest.measure('/no/such/device')
        self.assertEqual(('open', 2), (answer['failed'], answer['errno']))

    def test_no_kvm(self):
        self.assertEqual('KVM_GET_API_VERSION',
                         kvm_guest.measure('/dev/null')['failed'])

    def test_a_real_guest_counts_to_the_end(self):
        if not os.access('/dev/kvm', os.R_OK | os.W_OK):
            self.skipTest('there is no /dev/kvm here')
        kvm = os.open('/dev/kvm', os.O_RDWR)
        self.addCleanup(os.close, kvm)
        guest = kvm_guest.Guest(kvm)
        self.assertGreater(guest.loop(1000), 0)
        self.assertEqual(0, guest.left())

    def test_a_guest_that_does_not_halt(self):
        if not os.access('/dev/kvm', os.R_OK | os.W_OK):
            self.skipTest('there is no /dev/kvm here')
        kvm = os.open('/dev/kvm', os.O_RDWR)
        self.addCleanup(os.close, kvm)
        guest = kvm_guest.Guest(kvm)
        # an invalid instruction without a handler causes a triple fault
        guest.memory[kvm_guest.CODE:kvm_guest.CODE + 2] = b'\x0f\x0b'
        e = self.assertRaises(kvm_guest.Failed, guest.loop, 1)
        self.assertEqual('KVM_RUN', e.call)

    def test_it_needs_nothing_but_the_standard_library(self):
        source = pathlib.Path(kvm_guest.__file__).read_text()
        self.assertNotIn('from kata_openstack', source)
