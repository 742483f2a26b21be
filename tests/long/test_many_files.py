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
"""A container with far more files than virtiofsd can have open."""

from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from tests.functional.embedded import test_files

_FOLDERS, _FILES = 400, 500


class TestManyFiles(test_files.FilesTestCase):
    LIMIT = 20000

    def test_two_hundred_thousand(self):
        pod = self.pod(resources=pb.LinuxContainerResources(
            memory_limit_in_bytes=256 << 20))
        container = pod.run()
        script = (f'mkdir /r; cd /r; for d in $(seq {_FOLDERS}); do mkdir $d; '
                  f'(cd $d; seq {_FILES} | xargs touch) || exit 1; done')
        for command in (script, 'find /r | wc -l', 'find /r | wc -l'):
            done = self.client.exec_sync(
                container, ['sh', '-c', command], 1800)
            self.assertEqual((0, b''), (done.exit_code, done.stderr))
            self.assertLess(self.opened(pod), self.LIMIT)
        self.assertEqual(f'{_FOLDERS * (_FILES + 1) + 1}\n',
                         done.stdout.decode())
        # neither a container nor the pod was killed for lack of memory
        self.assertEqual(pb.CONTAINER_RUNNING, pod.status(container).state)
        self.assertEqual('alive\n', pod.execute(pod.run(), 'echo', 'alive'))
        pod.remove()
