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

"""Images named by a digest."""

import json
import pathlib

import fixtures
from zunclient.common.apiclient import exceptions

from tests.e2e import base
from tools.quickstart import images

SAY = "sh -c 'echo $VERSION'"


class ImagesAloneTest(base.AloneTestCase):
    """Alone, because others use the image that it deletes."""

    def test_image_list_delete_and_search(self):
        api = base.zun().images
        pulled = api.create(repo=base.IMAGE, host=base.stack().host)
        base.wait_until('the pull', lambda: api.get(pulled.uuid).image_id)
        self.assertIn(pulled.uuid, [image.uuid for image in api.list()])
        api.delete(pulled.uuid)
        base.wait_until('the deletion', lambda: pulled.uuid not in [
            image.uuid for image in api.list()])
        for exact in (False, True):
            refused = self.assertRaises(
                exceptions.BadRequest, api.search_image, base.IMAGE,
                exact_match=exact)
            self.assertIn('full name of the image', str(refused))


class DigestTestCase(base.TestCase):
    """Two images were pushed under one tag, one after the other."""

    def setUp(self):
        super().setUp()
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.image = f'{base.stack().registry}/{self.name()}'
        self.digests = {}
        for version in ('first', 'second'):
            images.write_layout(folder / version, {'Cmd': ['sh'], 'Env': [
                'PATH=/bin', f'VERSION={version}']}, images.layer())
            images.push(base.stack(), folder / version, f'{self.image}:1')
            index = json.loads((folder / version / 'index.json').read_text())
            self.digests[version] = index['manifests'][0]['digest']


class DigestTest(DigestTestCase):

    def test_container(self):
        container = self.run_container(
            image=f'{self.image}:1@{self.digests["first"]}')
        self.assertEqual('first', self.output(container, SAY))
        container = self.run_container(image=f'{self.image}:1')
        self.assertEqual('second', self.output(container, SAY))

    def test_rebuild(self):
        container = self.run_container(image=f'{self.image}:1')
        base.zun().containers.rebuild(
            container.uuid, image=f'{self.image}@{self.digests["first"]}')

        def version():
            try:
                return self.execute(container, SAY)[0].strip()
            except exceptions.Conflict:
                return None  # the old VM is gone, the new one not ready
        base.wait_until('the first image runs',
                        lambda: version() == 'first')
        self.wait_status(container, 'Running')

    def test_capsule(self):
        capsule = self.create_capsule({
            'capsuleVersion': 'beta', 'kind': 'capsule',
            'metadata': {'name': self.name()},
            'spec': {'containers': [{
                'image': f'{self.image}@{self.digests["first"]}',
                'command': ['sh'],
                'args': ['-c', 'echo $VERSION; sleep 3600']}]}})
        (container,) = capsule.containers
        self.assertEqual('first', base.wait_until(
            'the container has said its version',
            lambda: self.capsule_log(container).strip()))

    def test_image_ids(self):
        """They would lead to the images of all projects."""
        ident = next(line.split()[0] for line in base.ctr(
            'images', 'list', '-q').splitlines()
            if line.startswith('sha256:'))
        container = self.create('run', image=ident,
                                image_pull_policy='never')
        failed = self.wait_status(container, 'Error')
        self.assertIn('the ID of an image', failed.status_reason)


class DigestAloneTest(DigestTestCase, base.AloneTestCase):

    def test_malformed_and_unknown_digests(self):
        for digest, words in (('sha256:12', 'its digest is not'),
                              (f'sha256:{"0" * 64}', 'was not found')):
            before = self.look()
            container = self.create('run', image=f'{self.image}@{digest}')
            failed = self.wait_status(container, 'Error')
            self.assertIn(words, failed.status_reason)
            self.assertIn(digest[:12], failed.status_reason)
            self.assert_nothing_left(before)
