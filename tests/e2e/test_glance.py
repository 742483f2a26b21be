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

"""Containers and capsules from images of Glance."""

import gzip
import os
import pathlib
import tarfile

import fixtures
from tests.e2e import base
from tools.quickstart import images

from kata_openstack import exception

SAY = "sh -c 'echo $VERSION'"


class GlanceTestCase(base.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def layout(self, version):
        """An OCI layout in one file, with one compressed layer."""
        folder, path = self.folder / version, self.folder / f'{version}.tar'
        images.write_layout(folder, {'Cmd': ['sleep', '3600'], 'Env': [
            'PATH=/bin', f'VERSION={version}']}, images.layer())
        with tarfile.open(path, 'w') as archive:
            for name in sorted(os.listdir(folder)):
                archive.add(folder / name, name)
        return path

    def saved(self, version):
        """A file as docker save writes it."""
        path = self.folder / f'{version}-docker.tar'
        base.process.run(base.stack(), [
            'skopeo', '--insecure-policy', '--tmpdir', str(self.folder),
            'copy', '--quiet', f'oci:{self.layout(version).with_suffix("")}',
            f'docker-archive:{path}:{version}:1'], 'skopeo')
        return path

    def upload(self, path, **arguments):
        """:returns: the image"""
        image = base.cloud().create_image(
            self.name(), filename=str(path), container_format='docker',
            disk_format='raw', wait=True, **arguments)
        self.addCleanup(base.cloud().delete_image, image.id)
        return image

    def downloads(self):
        return os.listdir(base.stack().data / 'zun/images')

    def fails(self, words, **arguments):
        container = self.create('run', image_driver='glance', **arguments)
        failed = self.wait_status(container, 'Error')
        self.assertIn(words, failed.status_reason)


class GlanceTest(GlanceTestCase):

    def test_by_name_and_uuid(self):
        for write, version in ((self.layout, 'first'), (self.saved, 'second')):
            image = self.upload(write(version))
            for ident in (image.name, image.id):
                container = self.run_container(image=ident,
                                               image_driver='glance')
                self.assertEqual(version, self.output(container, SAY))
                found = base.zun().containers.get(container.uuid)
                self.assertEqual((ident, 'glance'), (found.image,
                                                     found.image_driver))
                self.remove(container.uuid)

    def test_by_the_command_line(self):
        image = self.upload(self.saved('cli'))
        name = self.name()
        base.openstack('appcontainer', 'run', '--name', name,
                       '--image-driver', 'glance', image.name)
        container = base.zun().containers.get(name)
        self.addCleanup(self.remove, container.uuid)
        self.wait_status(container, 'Running')
        self.assertEqual(['sleep', '3600'],
                         base.zun().containers.get(name).command)
        self.assertEqual('cli', self.output(container, SAY))

    def test_stop_start_rebuild(self):
        first = self.upload(self.layout('first'))
        second = self.upload(self.layout('second'))
        container = self.run_container(image=first.id, image_driver='glance')
        api = base.zun().containers
        api.stop(container.uuid, 1)
        self.wait_status(container, 'Stopped')
        api.start(container.uuid)
        self.wait_status(container, 'Running')
        self.assertEqual('first', self.output(container, SAY))
        for image, version in ((None, 'first'), (second.id, 'second')):
            arguments = {'image': image} if image else {}
            before = self.pod(container)['sandbox_id']
            api.rebuild(container.uuid, **arguments)
            base.wait_until(f'{version} runs', lambda before=before: (
                self.sandbox(container) not in (None, before)))
            self.wait_status(container, 'Running')
            self.assertEqual(version, self.output(container, SAY))

    def sandbox(self, container):
        try:
            return self.pod(container)['sandbox_id']
        except exception.NotFound:
            return None  # the old one is gone

    def test_capsule(self):
        image = self.upload(self.layout('capsule'))
        capsule = self.create_capsule({
            'capsuleVersion': 'beta', 'kind': 'capsule',
            'metadata': {'name': self.name(), 'annotations': {
                'kata-openstack.io/image-driver': 'glance'}},
            'spec': {'containers': [{
                'image': image.name, 'command': ['sh'],
                'args': ['-c', 'echo $VERSION; sleep 3600']}]}})
        (container,) = capsule.containers
        self.assertEqual('capsule', base.wait_until(
            'the container has said its version',
            lambda: self.capsule_log(container).strip()))

    def test_image_pull(self):
        image = self.upload(self.layout('pulled'))
        api = base.zun().images
        pulled = api.create(repo=image.id, host=base.stack().host)
        self.addCleanup(api.delete, pulled.uuid)
        found = base.wait_until('the pull', lambda: (
            (record := api.get(pulled.uuid)).image_id and record))
        self.assertEqual((image.id, 'latest'), (found.repo, found.tag))

    def test_what_cannot_run(self):
        self.fails('was not found in Glance', image=self.name())
        disk = self.folder / 'disk'
        disk.write_bytes(b'QFI\xfb' + bytes(100000))
        self.fails('docker save', image=self.upload(disk).id)
        packed = self.folder / 'packed'
        packed.write_bytes(gzip.compress(self.layout('x').read_bytes()))
        self.fails('compressed as a whole', image=self.upload(packed).id)
        image = self.upload(self.layout('gone'))
        self.run_container(image=image.id, image_driver='glance')
        # Glance decides, also when the node has it
        base.cloud().image.deactivate_image(image.id)
        self.fails('deactivated', image=image.id)


class GlanceAloneTest(GlanceTestCase, base.AloneTestCase):

    def test_nothing_is_left(self):
        image = self.upload(self.layout('alone'))
        before = self.look()
        leases = base.ctr('leases', 'list', '-q')
        container = self.run_container(image=image.id, image_driver='glance')
        self.assertEqual([], self.downloads())
        self.remove(container.uuid)
        self.assert_nothing_left(before)
        self.assertEqual(leases, base.ctr('leases', 'list', '-q'))
