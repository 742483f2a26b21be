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

"""Copies of files from and to containers, by the API and by the client."""

import hashlib
import io
import tarfile

from zunclient.common.apiclient import exceptions

from tests.e2e import base

_MIB = 1 << 20


def archive(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.mode = len(content), 1000, 0o640
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class ArchivesTest(base.TestCase):

    def put(self, container, path, data):
        base.zun().containers.put_archive(container.uuid, path, data)

    def get(self, container, path):
        answer = base.zun().containers.get_archive(container.uuid, path)
        with tarfile.open(fileobj=io.BytesIO(answer['data'])) as tar:
            return answer['stat'], {
                member.name: tar.extractfile(member).read()
                for member in tar if member.isreg()}

    def test_of_each_state(self):
        container = self.create()
        self.wait_status(container, 'Created')
        self.put(container, '/root', archive(first=b'created'))
        zun = base.zun().containers
        zun.start(container.uuid)
        self.wait_status(container, 'Running')
        self.assertEqual('created', self.output(container, 'cat /root/first'))
        self.assertEqual('1000 640', self.output(
            container, "stat -c '%u %a' /root/first"))

        self.put(container, '/root', archive(second=b'running'))
        self.assertEqual('running', self.output(container,
                                                'cat /root/second'))
        self.output(container, "sh -c 'echo fresh > /root/third'")
        stat, files = self.get(container, '/root/third')
        self.assertEqual({'third': b'fresh\n'}, files)
        self.assertEqual(('third', 6, ''), (stat['name'], stat['size'],
                                            stat['linkTarget']))
        zun.pause(container.uuid)
        self.wait_status(container, 'Paused')
        refused = self.assertRaises(exceptions.Conflict, self.get, container,
                                    '/root/third')
        self.assertIn('unpause', str(refused))
        zun.unpause(container.uuid)
        self.wait_status(container, 'Running')

        zun.stop(container.uuid, 1)
        self.wait_status(container, 'Stopped')
        stat, files = self.get(container, '/root')
        self.assertEqual(1 << 31, stat['mode'] & (1 << 31))
        self.assertEqual((b'created', b'running', b'fresh\n'), tuple(
            files[f'root/{name}'] for name in ('first', 'second', 'third')))

    def test_64_mib(self):
        container = self.run_container()
        content = hashlib.sha512(b'seed').digest() * (_MIB // 64)
        content = b''.join(bytes([number]) + content[1:]
                           for number in range(64))
        data = archive(large=content)
        self.put(container, '/root', data)
        self.assertEqual(
            hashlib.sha256(content).hexdigest(),
            self.output(container, 'sha256sum /root/large').split()[0])
        base.zun().containers.stop(container.uuid, 1)
        self.wait_status(container, 'Stopped')
        self.put(container, '/root', data)
        self.assertEqual(content,
                         self.get(container, '/root/large')[1]['large'])

    def test_errors(self):
        container = self.run_container()
        for call in (lambda: self.get(container, '/none'),
                     lambda: self.put(container, '/none', archive(x=b'x')),
                     lambda: self.put(container, '/root', b'no archive')):
            refused = self.assertRaises(exceptions.BadRequest, call)
            self.assertIn('Invalid', str(refused))
        self.output(container, 'dd if=/dev/zero of=/root/x bs=1 count=0 '
                               'seek=91M')
        refused = self.assertRaises(exceptions.BadRequest, self.get,
                                    container, '/root/x')
        self.assertIn('at most 90 MiB', str(refused))
        self.assertIn('max_archive_mib', str(refused))
