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

"""Images of Glance, through Zun's manager."""

import os
from typing import Any

from zun import objects as zun_objects

from kata_openstack import exception
from tests.unit.contract import base
from tests.unit.contract import test_capsules


class TestGlance(base.ContractTestCase):

    def create_from(self, image: str, **values: Any) -> Any:
        return self.create(image=image, image_driver='glance', **values)

    def requested_images(self, record: Any) -> list[str]:
        return [container.image for container
                in self.api.requests[record.uuid].containers]

    def test_life(self) -> None:
        ident = self.glance.add('app')
        name = f'glance.invalid/{ident}:latest'
        for image in ('app', ident, 'app:1'):
            record = self.create_from(image)
            self.assertEqual(('Running', None, image, 'glance'), (
                record.status, record.status_reason, record.image,
                record.image_driver))
            self.assertEqual((['/entry'], ['serve']), (record.entrypoint,
                                                       record.command))
            self.assertEqual([name], self.requested_images(record))
            for action, arguments in (('stop', ('5',)), ('start', ()),
                                      ('reboot', (None,))):
                record = self.does(action, record, *arguments)
                (sent,) = self.api.requests[record.uuid].containers
                self.assertEqual(name, sent.image)
            self.assertIsNone(self.delete(record))
            self.assert_nothing_left()
        self.assertEqual(1, self.glance.downloads)
        self.assertEqual([], os.listdir(self.api.folder))

    def test_rebuild(self) -> None:
        self.glance.add('app')
        other = self.glance.add('other')
        record = self.create_from('app')
        record = self.rebuild(record)
        self.assertEqual('Running', record.status)
        record = self.rebuild(record, 'other')
        self.assertEqual(('Running', 'other', 'glance'), (
            record.status, record.image, record.image_driver))
        self.assertEqual([f'glance.invalid/{other}:latest'],
                         self.requested_images(record))

    def test_failures(self) -> None:
        self.glance.add('app')
        self.glance.add('app')
        bad = self.glance.add('bad')
        self.glance.chunks[bad] = [b'else']
        record = self.create_from('none')
        self.assertEqual('Error', record.status)
        self.assertIn('Image none was not found in Glance',
                      record.status_reason)
        self.assertIsNone(self.delete(record))
        for image, words in (('app', 'image id'), ('bad', 'Upload'.lower())):
            record = self.create_from(image)
            self.assertEqual('Error', record.status)
            self.assertIn(words, record.status_reason.lower())
            self.assertIsNone(self.delete(record))
        self.api.fail['import_image'] = exception.InvalidInput(
            field='image', value='x', why='it is a disk image',
            remedy='Use docker save.')
        record = self.create_from('bad')
        self.assertIn('it is a disk image', record.status_reason)
        self.assertIsNone(self.delete(record))
        self.assert_nothing_left()

    def test_image_pull(self) -> None:
        ident = self.glance.add('app')
        image = zun_objects.Image(self.context, project_id='p1', repo=ident,
                                  tag='', host=base.HOST)
        image.pull(self.context)  # creates it
        self.manager.image_pull(self.request(), image)
        found = zun_objects.Image.get_by_uuid(self.context, image.uuid)
        self.assertEqual((ident, 'latest', 'sha256:1', '100'), (
            found.repo, found.tag, found.image_id, found.size))
        self.assertEqual([], self.background)

    def test_default_driver(self) -> None:
        self.config(default_image_driver='glance')
        self.glance.add('app')
        record = self.create(image='app', image_driver=None)
        self.assertEqual(('Running', 'glance'), (record.status,
                                                 record.image_driver))


class TestGlanceCapsules(test_capsules.CapsuleTestCase):

    def test_both_kinds_of_images(self) -> None:
        ident = self.glance.add('app')
        capsule = self.capsule(count=1)
        self.member(capsule, zun_objects.CapsuleContainer, 'app',
                    image_driver='glance')
        capsule = self.create(self.reload(capsule))
        self.assertEqual(['Running'] * 3, self.states(capsule))
        (pod,) = self.api.requests.values()
        self.assertEqual(
            {'r.example/app0:2', f'glance.invalid/{ident}:latest'},
            {container.image for container in pod.containers})

    def test_by_annotation(self) -> None:
        """zun-api's template has no field for the driver."""
        idents = {self.glance.add(f'r.example/app{number}:2')
                  for number in range(2)}
        for value, words in (('glance', None), ('other', 'Use one of'),
                             (['glance'], 'Use one of')):
            capsule = self.capsule()
            capsule.annotations = {'kata-openstack.io/image-driver': value}
            capsule.save(self.context)
            capsule = self.create(capsule)
            if words:
                self.assertEqual('Error', capsule.status)
                self.assertIn(words, capsule.status_reason)
                continue
            self.assertEqual(['Running'] * 3, self.states(capsule))
            self.assertEqual({'glance'}, {
                record.image_driver for record in capsule.containers})
            (pod,) = self.api.requests.values()
            self.assertEqual(
                {f'glance.invalid/{ident}:latest' for ident in idents},
                {container.image for container in pod.containers})

    def test_a_failure(self) -> None:
        capsule = self.capsule(count=1)
        self.member(capsule, zun_objects.CapsuleContainer, 'none',
                    image_driver='glance')
        capsule = self.create(self.reload(capsule))
        self.assertEqual('Error', capsule.status)
        self.assertIn('not found in Glance', capsule.status_reason)
        self.assert_nothing_left()
