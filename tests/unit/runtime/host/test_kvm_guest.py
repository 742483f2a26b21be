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

"""The program that measures, in this process, with a guest of our own."""

import os
import pathlib
import signal
import time

from kata_openstack.runtime.host import kvm_guest
from tests.unit import base


class Guest:
    """Counts ``speed`` iterations a second, after ``entry`` seconds."""

    def __init__(self, speed, entry=0.0):
        self.speed = speed
        self.entry = entry
        self.loops = []

    def loop(self, iterations):
        self.loops.append(iterations)
        return self.entry + iterations / self.speed

    def left(self):
        return 0


class HangingGuest(Guest):
    """Uses CPU time until it is interrupted, at the first long loop."""

    def loop(self, iterations):
        if iterations > 1:
            while True:
                pass
        return 0.0

    def left(self):
        return kvm_guest.FIRST_LOOP - 7


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
        self.assertEqual([1, 1, 1, 1, kvm_guest.FIRST_LOOP], guest.loops)

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
        # an invalid instruction without a handler: a triple fault
        guest.memory[kvm_guest.CODE:kvm_guest.CODE + 2] = b'\x0f\x0b'
        e = self.assertRaises(kvm_guest.Failed, guest.loop, 1)
        self.assertEqual('KVM_RUN', e.call)

    def test_it_needs_nothing_but_the_standard_library(self):
        source = pathlib.Path(kvm_guest.__file__).read_text()
        self.assertNotIn('from kata_openstack', source)
