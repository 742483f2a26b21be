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

from google.protobuf import any_pb2
from google.protobuf import descriptor_pb2
from google.protobuf import timestamp_pb2
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import protobuf
from tests.unit import base


class TestAgainstProtobuf(base.TestCase):
    """Our codec and Google's read each other's output."""

    def test_any(self):
        for kind, value in (('', b''), ('t' * 300, b'\0\xff' * 1000)):
            theirs = any_pb2.Any(type_url=kind, value=value)
            ours = {'type_url': kind, 'value': value}
            self.assertEqual(theirs.SerializeToString(),
                             messages.ANY.encode(ours))
            self.assertEqual(
                ours, messages.ANY.decode(theirs.SerializeToString()))

    def test_numbers(self):
        for seconds in (0, 1, 127, 128, 1 << 32, (1 << 63) - 1):
            theirs = timestamp_pb2.Timestamp(seconds=seconds, nanos=5)
            data = messages.TIMESTAMP.encode({'seconds': seconds, 'nanos': 5})
            self.assertEqual(theirs.SerializeToString(), data)
            self.assertEqual({'seconds': seconds, 'nanos': 5},
                             messages.TIMESTAMP.decode(data))

    def test_nested_and_repeated(self):
        name = protobuf.Message(protobuf.Field(1, 'name', protobuf.STRING),
                                protobuf.Field(3, 'number', protobuf.UINT))
        message = protobuf.Message(
            protobuf.Field(1, 'name', protobuf.STRING),
            protobuf.Field(2, 'field', name, repeated=True))
        theirs = descriptor_pb2.DescriptorProto(name='x')
        theirs.field.add(name='a', number=1)
        theirs.field.add(number=2)
        ours = {'name': 'x', 'field': [{'name': 'a', 'number': 1},
                                       {'name': '', 'number': 2}]}
        self.assertEqual(theirs.SerializeToString(), message.encode(ours))
        self.assertEqual(ours, message.decode(theirs.SerializeToString()))


class TestMessage(base.TestCase):
    def test_an_empty_message_is_there(self):
        data = messages.RESPONSE.encode({'status': {}})
        self.assertEqual(b'\x0a\0', data)
        self.assertEqual({'code': 0, 'message': ''},
                         messages.RESPONSE.decode(data)['status'])
        self.assertIsNone(messages.RESPONSE.decode(b'')['status'])

    def test_unknown_fields_are_skipped(self):
        data = (b'\xa0\x06\x05' + b'\x99\x06' + bytes(8)
                + b'\x95\x06' + bytes(4) + b'\x0a\x01x')
        self.assertEqual({'type_url': 'x', 'value': b''},
                         messages.ANY.decode(data))

    def test_a_mistaken_name_is_an_error(self):
        self.assertRaises(KeyError, messages.ANY.encode, {'typo': 1})

    def test_garbage(self):
        for data in (b'\x0a', b'\x0a\x05x', b'\x0b', b'\x08\x01',
                     b'\xff' * 12, b'\x0a\x01\xff'):
            self.assertRaises(protobuf.DecodeError, messages.ANY.decode,
                              data)

    def test_every_method_has_its_types(self):
        for request, response in messages.TASK_METHODS.values():
            self.assertEqual({}, {
                name: value for name, value in request.decode(b'').items()
                if value})
            self.assertEqual(b'', response.encode({}))
