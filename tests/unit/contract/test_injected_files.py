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

import base64
import io
import tarfile

from oslo_utils import uuidutils
from zun import objects as zun_objects

from kata_openstack import exception
from tests.unit.contract import base


class TestInjectedFiles(base.ContractTestCase):

    def file(self, path='/etc/app/my.conf', data=b'a = 1\n', **values):
        """A mount as zun-api makes it."""
        fields = {'project_id': 'p1', 'user_id': 'u1',
                  'volume_provider': 'local', 'auto_remove': False,
                  'contents': base64.b64encode(data).decode(), **values}
        volume = zun_objects.Volume(
            self.context, cinder_volume_id=uuidutils.generate_uuid(),
            **fields)
        volume.create(self.context)
        return zun_objects.VolumeMapping(
            self.context, volume_id=volume.id, container_path=path,
            cinder_volume_id=volume.cinder_volume_id, **fields)

    def written(self):
        """The files that the node has got, by name."""
        with tarfile.open(fileobj=io.BytesIO(self.api.files['/'])) as found:
            return {entry.name: (entry.mode, entry.uid,
                                 found.extractfile(entry).read())
                    for entry in found}

    def test_files_are_there_before_the_first_start(self) -> None:
        data = bytes(range(256)) * 20000
        record = self.create(volumes=[
            self.file(), self.file('/data.bin', data),
            self.file('/empty', b'')])
        self.assertEqual('Running', record.status)
        self.assertEqual({'etc/app/my.conf': (0o644, 0, b'a = 1\n'),
                          'data.bin': (0o644, 0, data),
                          'empty': (0o644, 0, b'')}, self.written())
        calls = [call[0] for call in self.api.calls]
        self.assertLess(calls.index('create_pod'),
                        calls.index('unpack_archive'))
        self.assertLess(calls.index('unpack_archive'),
                        calls.index('start_pod'))
        self.assertIsNone(self.delete(record))
        self.assert_nothing_left()

    def test_a_rebuild_writes_them_again(self) -> None:
        record = self.create(volumes=[self.file()])
        self.api.files.clear()
        record = self.rebuild(record)
        self.assertEqual('Running', record.status)
        self.assertEqual({'etc/app/my.conf'}, set(self.written()))

    def test_what_cannot_be_a_file(self) -> None:
        for volume, word in (
                (self.file('relative'), 'relative'),
                (self.file('/'), 'full path'),
                (self.file('/etc/'), 'full path'),
                (self.file('/a/../../b'), 'full path'),
                (self.file(contents='no base64!'), 'base64')):
            record = self.create(volumes=[volume])
            self.assertEqual('Error', record.status)
            self.assertIn(word, record.status_reason)
            self.assert_nothing_left()

    def test_a_file_that_the_node_refuses(self) -> None:
        self.api.fail['unpack_archive'] = exception.InvalidInput(
            field='path', value='/proc/x', why='it is of the kernel',
            remedy='Use another.')
        record = self.create(volumes=[self.file('/proc/x')])
        self.assertEqual('Error', record.status)
        self.assertIn('of the kernel', record.status_reason)
        self.assert_nothing_left()
