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

from concurrent import futures
import os
import threading
from types import SimpleNamespace
from unittest import mock

from glanceclient import exc as glance_exc
from zun.common import exception as zun_exc

from kata_openstack import exception
from kata_openstack.zun_driver.glance import catalog
from kata_openstack.zun_driver.glance import download
from kata_openstack.zun_driver import images
from tests.unit.zun_driver import base

DATA = b'0123456789' * 100


class Case(base.DriverTestCase):

    def setUp(self) -> None:
        super().setUp()
        download._remove_old.cache_clear()
        download._mark.cache_clear()

    def pull(self, ident: str, policy: str = 'always') -> dict:
        return images.pull(self.context, base.HOST, ident, '', policy,
                           'glance', None)

    def imports(self) -> list:
        return [call[2:] for call in self.api.calls
                if call[0] == 'import_image']

    def assert_no_file(self) -> None:
        self.assertEqual([], os.listdir(self.api.folder))


class TestFind(Case):

    def test_by_name_tag_and_uuid(self) -> None:
        first = self.glance.add('app')
        tagged = self.glance.add('web', tags=['1'])
        colon = self.glance.add('db:2')
        self.glance.add('db', tags=['3'])
        for ident, wanted in (
                (first, first), ('app', first), ('web', tagged),
                ('web:1', tagged), ('db:2', colon), ('app:9', first)):
            self.assertEqual(wanted, catalog.find(self.context, ident).id)
        for ident in ('none', 'web:2', 'none:1', ':', 'a%b'):
            error = self.assertRaises(zun_exc.ImageNotFound, catalog.find,
                                      self.context, ident)
            self.assertIn(f'Image {ident} ', str(error))

    def test_not_a_container_image(self) -> None:
        ident = self.glance.add('vm', container_format='bare')
        for name in (ident, 'vm'):
            error = self.assertRaises(zun_exc.ImageNotFound, catalog.find,
                                      self.context, name)
            self.assertIn('container format', str(error))

    def test_several(self) -> None:
        self.glance.add('app')
        self.glance.add('app')
        error = self.assertRaises(zun_exc.Conflict, catalog.find,
                                  self.context, 'app')
        self.assertIn('image id', str(error))

    def test_not_usable(self) -> None:
        for status in ('queued', 'deactivated', 'killed'):
            ident = self.glance.add(status=status)
            error = self.assertRaises(exception.GlanceFailed, catalog.find,
                                      self.context, ident)
            self.assertIn(status, str(error))
        # in lower case it could be an image of somebody else
        ident = self.glance.add(
            ident='A5B1C2D3-0000-4000-8000-000000000001')
        self.assertRaises(exception.GlanceFailed, catalog.find, self.context,
                          ident)

    def test_failures(self) -> None:
        ident = self.glance.add()
        for error, words in (
                (glance_exc.CommunicationError('no route %s'), 'no route'),
                (glance_exc.HTTPForbidden(), 'forbids'),
                (glance_exc.HTTPServiceUnavailable(), 'Check that Glance'),
                (ValueError('x' * 5000), 'xxx')):
            self.glance.fail = {'get': error, 'list': error}
            for name in (ident, 'app'):
                raised = self.assertRaises(
                    exception.GlanceFailed, catalog.find, self.context, name)
                self.assertIn(words, str(raised))
                self.assertLess(len(str(raised)), 500)


class TestPull(Case):

    def test_download_and_import_once(self) -> None:
        ident = self.glance.add('app', DATA)
        for policy in ('always', 'ifnotpresent', 'never', 'Always'):
            image = self.pull('app', policy)
            self.assertEqual(('glance', 'app', None), (
                image['driver'], image['image'], image['path']))
            self.assertEqual(f'glance.invalid/{ident}:latest',
                             images.reference(image))
        self.assertEqual(DATA, self.api.data)
        self.assertEqual(1, self.glance.downloads)
        self.assert_no_file()
        (file,) = {file for _, file in self.imports() if file}
        self.assertTrue(file.startswith(ident) and file.endswith('.tar'))

    def test_never(self) -> None:
        self.glance.add('app')
        self.assertRaises(exception.ImageNotFound, self.pull, 'app', 'never')
        self.assertEqual(0, self.glance.downloads)

    def test_glance_decides_also_if_the_node_has_it(self) -> None:
        ident = self.glance.add('app')
        self.pull('app')
        del self.glance.all[ident]
        calls = len(self.imports())
        for name in ('app', ident):
            for policy in ('always', 'ifnotpresent', 'never'):
                self.assertRaises(zun_exc.ImageNotFound, self.pull, name,
                                  policy)
        self.assertEqual(calls, len(self.imports()))

    def test_each_project_is_named(self) -> None:
        ident = self.glance.add('app')
        for project in ('p1', 'p2'):
            self.context.project_id = project
            self.pull('app')
        self.assertEqual({'p1', 'p2'}, self.api.imported[ident])

    def test_properties_are_needs(self) -> None:
        ident = self.glance.add('app', kata_needs='a' * 300,
                                hw_mem_encryption=True, other='x')
        self.api.labels[ident] = {'kata-openstack.io/isolation': 'hardware'}
        labels = self.pull('app')[images.DETAILS]['labels']
        self.assertEqual({
            'kata-openstack.io/isolation': 'hardware',
            'hw_mem_encryption': 'True', 'kata_needs': 'a' * 201}, labels)

    def test_concurrent(self) -> None:
        self.glance.add('app', DATA)
        with futures.ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: self.pull('app'), range(6)))
        self.assertEqual([found[0]] * 6, found)
        self.assertEqual(1, self.glance.downloads)
        self.assert_no_file()

    def test_a_failed_import(self) -> None:
        ident = self.glance.add('app')
        errors = [exception.ImageNotFound(image='x'),
                  exception.ImageNotFound(image='x'),
                  exception.InvalidInput(field='image', value='x', why='bad',
                                         remedy='')]
        with mock.patch.object(self.api, 'import_image', side_effect=errors):
            self.assertRaises(exception.InvalidInput, self.pull, ident)
        self.assert_no_file()

    def test_image_pull_of_a_uuid(self) -> None:
        """As Zun's manager calls the driver."""
        ident = self.glance.add('app', tags=['1'])
        driver = images.Images()
        image, loaded = driver.pull_image(self.context, ident, '',
                                          driver_name='glance')
        self.assertTrue(loaded)
        driver.read_tar_image(image)
        self.assertIn(image['tag'], image['tags'])
        found = driver.inspect_image(f'{image["repo"]}:{image["tag"]}')
        self.assertEqual([f'{ident}:latest'], found['RepoTags'])

    def test_the_owner_of_a_container(self) -> None:
        """An administrator may rebuild a container of another project."""
        ident = self.glance.add('app')
        image = self.pull('app')
        record = SimpleNamespace(project_id='owner', host=base.HOST)
        images.admit_owner(self.context, record, image)
        self.assertEqual({'p1', 'owner'}, self.api.imported[ident])
        calls = len(self.imports())
        record.project_id = 'p1'
        images.admit_owner(self.context, record, image)
        images.admit_owner(self.context, record, {'driver': 'docker'})
        self.assertEqual(calls, len(self.imports()))


class TestDownload(Case):

    def refused(self, words: str, error: type = exception.GlanceFailed,
                **values: object) -> None:
        ident = self.glance.add(data=DATA, **values)
        self.glance.chunks[ident] = self.chunks
        raised = self.assertRaises(error, self.pull, ident)
        self.assertIn(words, str(raised))
        self.assert_no_file()
        self.assertEqual([(ident, None)] * 2, self.imports()[-2:])

    def test_what_does_not_match(self) -> None:
        self.chunks = [DATA[:-1], b'x']
        self.refused('checksum')
        self.refused('checksum', os_hash_value=None)
        self.refused('checksum', os_hash_algo='unknown')
        for size in (len(DATA), None):
            self.chunks = [DATA[:-1]]
            self.refused('', size=size)
        self.chunks = [DATA, b'', b'more', ValueError('not read')]
        self.refused('or more came')
        self.chunks = []
        self.refused('0 of')

    def test_without_any_checksum(self) -> None:
        ident = self.glance.add(data=DATA, checksum=None, os_hash_value=None,
                                os_hash_algo=None)
        self.pull(ident)
        self.assertEqual(DATA, self.api.data)

    def test_broken(self) -> None:
        for error in (glance_exc.CommunicationError('reset'),
                      glance_exc.HTTPForbidden(), OSError(32, 'corrupt')):
            self.chunks = [DATA[:50], error]
            self.refused('Glance')

    def test_no_space(self) -> None:
        self.chunks = [DATA]
        usage = SimpleNamespace(free=download._RESERVE + len(DATA) - 1)
        with mock.patch('shutil.disk_usage', lambda _: usage):
            self.refused('Downloading an image', exception.NotEnoughDisk)
        self.assertEqual(0, self.glance.downloads)

        def fill() -> object:
            yield DATA[:500]
            usage.free = 0
            yield DATA[500:]
        self.glance.chunks.clear()
        with mock.patch('shutil.disk_usage', lambda _: usage), \
                mock.patch.object(download, '_LOOK', 100):
            usage.free = 2 * download._RESERVE
            self.chunks = fill()
            self.refused('Downloading an image', exception.NotEnoughDisk)
        with mock.patch.object(download, '_private', lambda *_: os.open(
                '/dev/full', os.O_WRONLY)):
            self.chunks = [DATA * 20]
            self.refused('Downloading an image', exception.NotEnoughDisk,
                         size=len(DATA) * 20)

    def test_while_it_comes_it_has_another_name(self) -> None:
        seen = []

        def chunks() -> object:
            yield DATA
            for name in os.listdir(self.api.folder):
                mode = (self.api.folder / name).stat().st_mode
                seen.append((name.rpartition('.')[2], mode & 0o777))
        ident = self.glance.add(data=DATA)
        self.glance.chunks[ident] = chunks()
        self.pull(ident)
        self.assertEqual([('part', 0o600)], seen)

    def test_few_at_the_same_time(self) -> None:
        running, most = [0], [0]
        lock = threading.Lock()

        def chunks() -> object:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            threading.Event().wait(0.05)
            yield DATA
            with lock:
                running[0] -= 1
        idents = [self.glance.add(data=DATA) for _ in range(12)]
        for ident in idents:
            self.glance.chunks[ident] = chunks()
        with futures.ThreadPoolExecutor(12) as pool:
            list(pool.map(self.pull, idents))
        self.assertEqual(download._MOST, most[0])

    def test_what_a_killed_process_left(self) -> None:
        ident = self.glance.add(data=DATA)
        for mark in (download._mark(), 'otherhost000'):
            for end in ('part', 'tar'):
                (self.api.folder / f'{ident}-{mark}-1.{end}').touch()
        self.pull(ident)
        self.assertEqual(
            [f'{ident}-otherhost000-1.{end}' for end in ('part', 'tar')],
            sorted(os.listdir(self.api.folder)))
