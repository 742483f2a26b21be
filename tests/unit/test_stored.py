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

"""Data of other releases is read leniently, but not without checks."""

import dataclasses
import enum
from typing import Any

from kata_openstack import stored
from tests.unit import base


class Colour(enum.StrEnum):
    RED = 'red'


@dataclasses.dataclass
class Inner:
    number: int
    ratio: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    flag: bool = False
    colour: Colour | None = None
    inner: Inner | None = None
    several: list[Inner] = dataclasses.field(default_factory=list)
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    free: Any = None


class LoadTest(base.TestCase):

    def test_complete(self):
        whole = Outer(name='n', flag=True, colour=Colour.RED,
                      inner=Inner(1, 2.5), several=[Inner(2)],
                      texts={'a': 'b'}, free=[None, {}])
        self.assertEqual(whole, stored.load(Outer, dataclasses.asdict(whole)))

    def test_unknown_fields_are_dropped_at_each_level(self):
        self.assertEqual(
            Outer(name='n', inner=Inner(1), several=[Inner(2)]),
            stored.load(Outer, {
                'name': 'n', 'new': {}, 'inner': {'number': 1, 'new': 1},
                'several': [{'number': 2, 'new': []}]}))

    def test_missing_fields_get_their_defaults(self):
        self.assertEqual(Outer(name='n'), stored.load(Outer, {'name': 'n'}))
        self.assertEqual(0.5, stored.load(Inner, {'number': 1}).ratio)

    def test_a_whole_number_may_be_a_float(self):
        self.assertEqual(2.0, stored.load(
            Inner, {'number': 1, 'ratio': 2}).ratio)

    def test_garbage(self):
        for data in (None, [], 'text', {}, {'name': None}, {'name': 1},
                     {'name': 'n', 'flag': 1}, {'name': 'n', 'flag': None},
                     {'name': 'n', 'colour': 'blue'},
                     {'name': 'n', 'inner': []},
                     {'name': 'n', 'inner': {'number': True}},
                     {'name': 'n', 'several': {}},
                     {'name': 'n', 'several': [None]},
                     {'name': 'n', 'texts': {'a': 1}}):
            self.assertRaises(ValueError, stored.load, Outer, data)

    def test_no_value_is_in_an_error(self):
        error = self.assertRaises(ValueError, stored.load, Outer,
                                  {'name': 'n', 'flag': 'hunter2'})
        self.assertIn('Outer.flag', str(error))
        self.assertNotIn('hunter2', str(error))
