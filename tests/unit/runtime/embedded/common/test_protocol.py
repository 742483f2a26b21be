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

from kata_openstack.runtime.embedded.common import protocol
from tests.unit import base


class TestDecoder(base.TestCase):
    def test_frames_in_pieces_of_any_size(self):
        sent = [(protocol.CALL, 1, b'{}'), (protocol.STDIN, 7, b''),
                (protocol.EXIT, 0xFFFFFFFF, b'x' * 100)]
        stream = b''.join(protocol.frame(*item) for item in sent)
        for size in (1, 3, 10, len(stream)):
            decoder = protocol.Decoder(100)
            got = [frame for at in range(0, len(stream), size)
                   for frame in decoder.feed(stream[at:at + size])]
            self.assertEqual(sent, got)

    def test_a_length_out_of_bounds_is_refused_before_it_is_read(self):
        for length in (0, 4, 106, 0xFFFFFFFF):
            decoder = protocol.Decoder(100)
            head = protocol.HEAD.pack(length, protocol.STDOUT, 1)
            self.assertRaises(protocol.ProtocolError, list,
                              decoder.feed(head))

    def test_the_largest_is_accepted(self):
        decoder = protocol.Decoder(100)
        self.assertEqual(1, len(list(decoder.feed(
            protocol.frame(protocol.STDOUT, 1, b'x' * 100)))))
