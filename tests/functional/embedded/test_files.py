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

    def opened(self, pod, name='virtiofsd'):
        """The number of a virtiofsd's open files."""
        pid = open_files._server(pod.state[name])
        return len(os.listdir(f'/proc/{pid}/fd'))


class TestFilesInUse(FilesTestCase):
    LIMIT = 300
    # two programs: the first one closes a file again when it gets the error
    OPEN = 'tail -n 0 -f {0}/* & tail -n 0 -f {0}/* & wait'

    def until_full(self, pod, busy, name, limit):
        self.wait_for(lambda: any('Too many open files' in line
                                  for _, line in pod.log(busy)),
                      'a program gets the error')
        self.wait_for(lambda: self.opened(pod, name) > limit * 0.9,
                      'most files are open')

    def until_closed(self, pod, busy, name, limit):
        self.client.stop_container(busy, 0)
        self.wait_for(lambda: self.opened(pod, name) < limit / 2,
                      'the files are closed')

    def refused(self, request, *args):
        error = self.assertRaises((exception.KataError, AssertionError),
                                  request, *args)
        self.assertIn('Too many open files', str(error))

    def test_programs_that_have_all_files_open(self):
        """They get the error; the pod can still be used and removed."""
        pod = self.pod()
        idle = pod.run()
        busy = pod.run('sh', '-c', 'mkdir /d; cd /d; '
                       f'seq {self.LIMIT} | xargs touch; '
                       + self.OPEN.format('/d'))
        self.until_full(pod, busy, 'virtiofsd', self.LIMIT)
        self.refused(pod.execute, idle, 'cat', '/etc/passwd')
        self.refused(pod.run)
        self.until_closed(pod, busy, 'virtiofsd', self.LIMIT)
        self.assertIn('root', pod.execute(idle, 'cat', '/etc/passwd'))
        pod.remove()

    def test_programs_that_have_all_files_of_a_folder_open(self):
        """The containers' own files have the other half of the limit."""
        pod = self.pod()
        mounts = [self.folder_of(self.LIMIT)]
        idle = pod.run(mounts=mounts)
        busy = pod.run('sh', '-c', self.OPEN.format('/data'), mounts=mounts)
        self.until_full(pod, busy, 'virtiofsd_live', self.LIMIT / 2)
        # the guest may have forgotten files meanwhile, so two could be read
        self.refused(pod.execute, idle, 'sh', '-c',
                     'timeout 2 tail -n 0 -f /data/*')
        self.assertEqual('ok\n', pod.execute(pod.run(), 'echo', 'ok'))
        self.until_closed(pod, busy, 'virtiofsd_live', self.LIMIT / 2)
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
