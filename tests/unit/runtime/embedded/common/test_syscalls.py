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

"""What the kernel is given, where it cannot be called in a test."""

import struct
from unittest import mock

from kata_openstack.runtime.embedded.common import syscalls
from tests.unit import base


class ClockRateTest(base.TestCase):
    def set(self, ppm, result=0):
        """Return modes, frequency and tick, as in struct timex."""
        libc = mock.Mock()
        libc.adjtimex.return_value = result
        with mock.patch.object(syscalls, '_libc', libc):
            syscalls.set_clock_rate(ppm)
        timex = bytes(libc.adjtimex.call_args[0][0])
        return (*struct.unpack_from('I4x8xq', timex),
                *struct.unpack_from('q', timex, 88))

    def test_ticks_and_the_rest(self):
        both = 0x4002
        self.assertEqual((both, 0, 10_000), self.set(0))
        self.assertEqual((both, 34 << 16, 10_012), self.set(1234))
        self.assertEqual((both, 66 << 16, 9_987), self.set(-1234))
        self.assertEqual((both, 0, 9_100), self.set(-90_000))

    def test_the_state_of_the_clock_is_no_error(self):
        self.set(0, result=5)  # TIME_ERROR: not synchronised
        self.assertRaises(OSError, self.set, 0, result=-1)
