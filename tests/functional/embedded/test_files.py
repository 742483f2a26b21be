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
"""Files that virtiofsd serves: their number, and those of the host."""

import os
import pathlib
import tempfile

from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded.virtiofs import open_files
from tests.functional.embedded import base


class FilesTestCase(base.EmbeddedTestCase):
    """virtiofsd may open at most LIMIT files."""

    LIMIT: int

    def configuration(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        program = pathlib.Path(folder.name, 'virtiofsd')
        program.write_text(f'#!/bin/sh\nulimit -n {self.LIMIT}\n'
                           f'exec {self.settings.virtiofsd} "$@"\n')
        program.chmod(0o700)
        return self.configured(folder.name, virtiofsd=str(program))

    def folder_of(self, count):
        """The host's path of a folder of files, and its mount."""
        folder = self.folder()
        for number in range(count):
            (folder / str(number)).write_text(f'{number}\n')
        return pb.Mount(container_path='/data', host_path=str(folder))

    def opened(self, pod):
        """The number of virtiofsd's open files."""
        pid = open_files._server(pod.state['virtiofsd'])
        return len(os.listdir(f'/proc/{pid}/fd'))


class TestFilesInUse(FilesTestCase):
    LIMIT = 300

    def test_programs_that_have_all_files_open(self):
        """They get the error; the pod can still be used and removed."""
        pod = self.pod()
        mounts = [self.folder_of(self.LIMIT)]
        idle = pod.run(mounts=mounts)
        # two programs: the first one closes a file again when it gets the
        # error
        busy = pod.run('sh', '-c', 'tail -n 0 -f /data/* & '
                       'tail -n 0 -f /data/* & wait', mounts=mounts)
        self.wait_for(lambda: any('Too many open files' in line
                                  for _, line in pod.log(busy)),
                      'a program gets the error')
        self.wait_for(lambda: self.opened(pod) > self.LIMIT * 0.9,
                      'most files are open')
        for request in (
                lambda: pod.execute(idle, 'cat', '/data/0', '/data/299'),
                pod.run):
            error = self.assertRaises((exception.KataError, AssertionError),
                                      request)
            self.assertIn('Too many open files', str(error))
        self.client.stop_container(busy, 0)
        self.wait_for(lambda: self.opened(pod) < self.LIMIT / 2,
                      'the files are closed')
        self.assertEqual('299\n', pod.execute(idle, 'cat', '/data/299'))
        pod.remove()


class TestFilesOfThePod(base.EmbeddedTestCase):
    def test_the_disk_of_the_host_is_not_filled(self):
        """A container may change its hosts file, up to a limit."""
        hosts = self.folder() / 'hosts'
        hosts.write_text('127.0.0.1 localhost\n')
        hosts.chmod(0o644)
        pod = self.pod()
        container = pod.run(mounts=[pb.Mount(container_path='/etc/hosts',
                                             host_path=str(hosts))])
        pod.execute(container, 'sh', '-c', 'echo 192.0.2.7 mine >>/etc/hosts')
        self.assertEqual('127.0.0.1 localhost\n192.0.2.7 mine\n',
                         pod.execute(container, 'cat', '/etc/hosts'))
        # as any user
        self.assertIn('644', pod.execute(container, 'stat', '-c', '%a',
                                         '/etc/hosts'))
        for path in ('/etc/hosts', '/etc/resolv.conf', '/etc/hostname'):
            size = pod.execute(
                container, 'sh', '-c', f'head -c 3000000 /dev/zero >{path}; '
                f'stat -c %s {path}')
            self.assertLess(int(size), 2000000)
        self.assertEqual('127.0.0.1 localhost\n', hosts.read_text())
        pod.remove()
