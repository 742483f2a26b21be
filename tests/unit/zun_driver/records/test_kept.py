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

import copy
import json

from kata_openstack import exception
from kata_openstack.zun_driver.records import kept
from tests.unit import test_old_releases
from tests.unit.zun_driver import base

OLD = json.loads((test_old_releases.STORED / 'cni_metadata.json').read_text())


class TestRequested(base.DriverTestCase):

    def created(self, **values):
        """A container after its create, and before a rebuild."""
        record = self.container(**values)
        kept.resolve(record, self.requested(fixed_ip='10.0.0.9'))
        record.command, record.runtime = ['serve'], 'kata-embedded'
        record.save(self.context)
        return self.reload(record)

    def test_restored(self) -> None:
        record = self.created()
        (network,) = kept.resolve(record, [])
        self.assertEqual(
            (self.neutron.NETWORK, '', '10.0.0.9', False),
            (network['network'], network['port'], network['fixed_ip'],
             network['preserve_on_delete']))
        self.assertEqual(([], None), (record.command, record.runtime))

    def test_it_outlives_the_pod(self) -> None:
        record = self.created()
        before = copy.deepcopy(record.cni_metadata)
        kept.keep(record, kept.Kept(image='i', vifs=[]))
        self.assertEqual('i', kept.load(record).image)
        kept.forget(record)
        record.save(self.context)
        record = self.reload(record)
        self.assertEqual(before, record.cni_metadata)
        self.assertRaises(exception.NotFound, kept.load, record)

    def test_forgotten_also_if_there_is_nothing_else(self) -> None:
        """Zun's save() drops the value None, and so would keep the old."""
        record = self.container()
        kept.keep(record, kept.Kept(image='i', vifs=[]))
        record.save(self.context)
        record = self.reload(record)
        kept.forget(record)
        record.save(self.context)
        self.assertRaises(exception.NotFound, kept.load, self.reload(record))

    def test_data_of_a_later_release(self) -> None:
        record = self.created()
        asked = copy.deepcopy(record.cni_metadata)
        asked['kata_requested']['later'] = [1]
        asked['kata_requested']['networks'][0]['later'] = {'a': 1}
        record.cni_metadata = asked
        (network,) = kept.resolve(record, [])
        self.assertEqual('10.0.0.9', network['fixed_ip'])

    def test_a_container_of_an_older_release(self) -> None:
        """Its own settings are all that is known."""
        for stored in (OLD, {**OLD, 'kata_requested': 'damaged'},
                       {**OLD, 'kata_requested': {'command': 1}}):
            record = self.created()
            record.cni_metadata = stored
            passed = self.requested(port='p')
            self.assertEqual(passed, kept.resolve(record, passed))
            self.assertEqual((['serve'], 'kata-embedded'),
                             (record.command, record.runtime))
            self.assertEqual(stored['kata'], record.cni_metadata['kata'])
            record.addresses = {}
            kept.resolve(record, [])
            self.assertEqual(['serve'], record.command)
