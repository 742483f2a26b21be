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

import json

import fixtures
import grpc

from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import importer
from tests.unit import base
from tests.unit import fake_containerd

IMAGE = importer.Image(name='test.invalid/image:1', config=b'{}',
                       layers=(b'layer',))


class ImporterTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        self.state = self.fake.state
        self.client = cri.CriClient(self.fake.conf)
        self.addCleanup(self.client.close)
        self.importer = importer.Importer(self.fake.conf, self.client)

    def calls(self, method):
        return [call for call in self.state.calls if call[0] == method]

    def test_an_image(self):
        self.importer.ensure(IMAGE)
        manifest = json.loads(self.state.blobs[
            self.state.records[IMAGE.name]])
        self.assertEqual(b'{}', self.state.blobs[
            manifest['config']['digest']])
        [layer] = manifest['layers']
        self.assertEqual(b'layer', self.state.blobs[layer['digest']])
        self.assertEqual(5, layer['size'])
        # labels keep containerd from collecting these blobs as garbage
        *_, (_, written) = self.calls('Write')
        self.assertEqual({manifest['config']['digest'], layer['digest']},
                         set(written.labels.values()))
        self.assertEqual({}, self.state.leases)

    def test_once(self):
        self.importer.ensure(IMAGE)
        self.importer.ensure(IMAGE)
        self.assertEqual(1, len(self.calls('Create')))

    def test_what_was_interrupted_is_completed(self):
        """Blobs and name exist, but CRI does not know the image."""
        self.importer.ensure(IMAGE)
        del self.state.images[IMAGE.name]
        self.importer.ensure(IMAGE)
        self.assertIn(IMAGE.name, self.state.images)

    def test_an_error(self):
        self.state.fail['Write'] = (grpc.StatusCode.UNKNOWN, 'disk full')
        error = self.assertRaises(exception.RuntimeFailed,
                                  self.importer.ensure, IMAGE)
        self.assertIn('disk full', str(error))
        self.assertEqual({}, self.state.leases)

    def test_cri_does_not_see_it(self):
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.containerd.importer._SEEN', 0.05))
        self.state.cri_is_blind = True
        error = self.assertRaises(exception.RuntimeFailed,
                                  self.importer.ensure, IMAGE)
        self.assertIn(IMAGE.name, str(error))
