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

"""A guest that reads far more than its memory."""

from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from tests.functional.embedded import base
from tests.functional.embedded import memory
from tests.functional import images


class TestMemory(base.EmbeddedTestCase):
    def test_two_gibibytes_are_read(self):
        memory.fill(self, read_mib=2048)

    def test_a_large_guest_is_full(self):
        """The kernel keeps more memory of a large VM for itself."""
        pod = self.pod(
            resources=pb.LinuxContainerResources(
                memory_limit_in_bytes=1024 * memory.MIB),
            security_context=pb.LinuxSandboxSecurityContext(privileged=True))
        evil = self.client.create_container(pod.id, pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name='evil'),
            image=pb.ImageSpec(image=images.BUSYBOX),
            command=['sleep', '1000'], log_path='evil.log',
            linux=pb.LinuxContainerConfig(
                security_context=pb.LinuxContainerSecurityContext(
                    privileged=True))), pod.config)
        self.client.start_container(evil)
        done = self.client.exec_sync(evil, [
            'sh', '-c', 'mkdir /t && mount -t tmpfs -o size=4g t /t && '
                        'dd if=/dev/zero of=/t/x bs=1M'], 300)
        self.assertNotEqual(0, done.exit_code)
        for _ in range(3):
            other = pod.run()
            self.assertEqual('alive\n', pod.execute(other, 'echo', 'alive'))
        pod.remove()
