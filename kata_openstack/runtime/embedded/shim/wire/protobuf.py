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

"""The part of protobuf's wire format that the shim uses.

The protobuf package takes 40 ms and 10 MB to import, too much for a
process per pod. A :class:`Message` describes a message type; its values
are dictionaries with a key for each field. Absent fields have the defaults
of proto3; unknown fields are skipped.
"""

from collections.abc import Mapping
import struct
from typing import Any
from typing import Final

UINT: Final = 'uint'  # also bool, and int32, int64 and enums >= 0
STRING: Final = 'string'
BYTES: Final = 'bytes'
DOUBLE: Final = 'double'
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1


class DecodeError(Exception):
    """The bytes are not a message of this type."""


class Field:
    """``kind``: UINT, STRING, BYTES, DOUBLE or a Message."""

    def __init__(self, number: int, name: str, kind: 'str | Message',
                 repeated: bool = False) -> None:
        self.number = number
        self.name = name
        self.kind = kind
        self.repeated = repeated

    @property
    def default(self) -> Any:
        if self.repeated:
            return []
        if isinstance(self.kind, Message):
            return None
        return {UINT: 0, STRING: '', BYTES: b'', DOUBLE: 0.0}[self.kind]


class Message:
    """A message type, for example ``Message(Field(1, 'id', STRING))``."""

    def __init__(self, *fields: Field) -> None:
        self.fields = fields
        self._by_number = {field.number: field for field in fields}

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """Encode values by field name.

        :raises KeyError: there is no field for a value.
        """
        unknown = set(values) - {field.name for field in self.fields}
        if unknown:
            raise KeyError(f'no such field: {sorted(unknown)}')
        out = bytearray()
        for field in self.fields:
            value = values.get(field.name)
            if value is None or (not field.repeated and value != 0
                                 and not value and value != {}):
                continue
            for item in value if field.repeated else [value]:
                _encode_field(out, field, item)
        return bytes(out)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the values by field name.

        :raises DecodeError: the bytes are not such a message.
        """
        values = {field.name: field.default for field in self.fields}
        position = 0
        try:
            while position < len(data):
                tag, position = _varint(data, position)
                value, position = _value(data, position, tag & 7)
                field = self._by_number.get(tag >> 3)
                if field is None:
                    continue
                item = _decode_item(field, value)
                if field.repeated:
                    values[field.name].append(item)
                else:
                    values[field.name] = item
        except (IndexError, struct.error, UnicodeDecodeError) as e:
            raise DecodeError(str(e)) from e
        return values


def _encode_field(out: bytearray, field: Field, item: Any) -> None:
    if field.kind == UINT:
        if item or field.repeated:
            _put_varint(out, field.number << 3 | _VARINT)
            _put_varint(out, int(item) & _MASK)
        return
    if field.kind == DOUBLE:
        if item or field.repeated:
            _put_varint(out, field.number << 3 | _FIXED64)
            out += struct.pack('<d', item)
        return
    if isinstance(field.kind, Message):
        data = field.kind.encode(item)
    else:
        data = item.encode() if field.kind == STRING else item
    _put_varint(out, field.number << 3 | _LENGTH)
    _put_varint(out, len(data))
    out += data


def _put_varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & _MASK, position
        shift += 7
        if shift > 63:
            raise DecodeError('a varint is longer than 64 bits')


def _value(data: bytes, position: int, wire: int) -> tuple[Any, int]:
    if wire == _VARINT:
        return _varint(data, position)
    if wire == _LENGTH:
        length, position = _varint(data, position)
    elif wire in (_FIXED64, _FIXED32):
        length = 8 if wire == _FIXED64 else 4
    else:
        raise DecodeError(f'unknown wire type {wire}')
    if position + length > len(data):
        raise DecodeError('the message is truncated')
    return data[position:position + length], position + length


def _decode_item(field: Field, value: Any) -> Any:
    if (field.kind == UINT) != isinstance(value, int):
        raise DecodeError(f'field {field.name} has the wrong wire type')
    if isinstance(field.kind, Message):
        return field.kind.decode(value)
    if field.kind == DOUBLE:
        return struct.unpack('<d', value)[0]
    return value.decode() if field.kind == STRING else value
