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

"""Containers through Zun's own Manager."""

from tests.unit.contract import base


class TestLife(base.ContractTestCase):

    def test_create(self) -> None:
        record = self.create(run=False)
        self.assertEqual(
            ('Created', None, None, base.HOST, 'kata-embedded'),
            (record.status, record.status_reason, record.task_state,
             record.host, record.runtime))
        (addr,) = record.addresses[self.neutron.NETWORK]
        self.assertIn(addr['port'], self.neutron.ports)
        self.assertEqual({record.uuid}, self.placement.allocations)
        self.assertEqual({'create': None}, self.actions(record))
