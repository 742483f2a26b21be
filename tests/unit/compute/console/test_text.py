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

import hypothesis
from hypothesis import strategies
from tests.unit import base

from kata_openstack.compute.console import relay
from kata_openstack.compute.console import text


class WholeCharactersTest(base.TestCase):

    @hypothesis.given(strategies.text(), strategies.data())
    def test_each_piece_is_valid(self, shown, data):
        subject = text.WholeCharacters()
        left, seen = shown.encode(), ''
        while left:
            size = data.draw(strategies.integers(1, len(left)))
            seen += subject.feed(left[:size]).decode()
            left = left[size:]
        self.assertFalse(subject.waiting)
        self.assertEqual(shown, seen)

    def test_what_is_no_character(self):
        subject = text.WholeCharacters()
        self.assertEqual('a\ufffdb', subject.feed(b'a\xffb').decode())
        self.assertEqual(b'', subject.feed(b'\xe2\x82'))
        self.assertTrue(subject.waiting)
        self.assertEqual('\ufffd', subject.flush().decode())
        self.assertFalse(subject.waiting)
        self.assertEqual(b'', subject.flush())
        self.assertEqual(b'a', subject.feed(b'a'))

    def test_pieces_of_a_frame(self):
        shown = 'a' + '\U0001f600' * 10000
        pieces = relay._pieces(shown.encode())
        self.assertEqual(shown, ''.join(p.decode() for p in pieces))
        self.assertLessEqual(max(map(len, pieces)), 16 * 1024)


class DetachKeysTest(base.TestCase):

    def assert_passes(self, expected, *pieces):
        subject = text.DetachKeys()
        seen = b''
        for piece in pieces:
            passed, left = subject.feed(piece)
            seen += passed
            if left:
                break
        self.assertEqual(expected, (seen, left))

    def test_found(self):
        self.assert_passes((b'ab', True), b'ab\x10\x11cd')
        self.assert_passes((b'', True), b'\x10', b'\x11')
        self.assert_passes((b'\x10', True), b'\x10', b'\x10', b'\x11')

    def test_other_keys_pass(self):
        self.assert_passes((b'\x10a\x11', False), b'\x10', b'a', b'\x11')
        self.assert_passes((b'ab', False), b'ab')
        self.assert_passes((b'', False), b'\x10')
