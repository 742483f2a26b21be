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

"""Images of unusual forms."""

from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from tests.functional.embedded import base
from tests.functional import images

LAYERS = 100


class TestImages(base.EmbeddedTestCase):
    def run_image(self, pod, image, *command):
        container = self.client.create_container(pod.id, pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name='own'),
            image=pb.ImageSpec(image=image), command=command,
            log_path=f'{image.rpartition(":")[2]}.log',
            linux=pb.LinuxContainerConfig()), pod.config)
        self.client.start_container(container)
        return container

    def test_a_stop_signal_of_the_image(self):
        """systemd's, in both forms that images have."""
        pod = self.pod()
        for number, stop in enumerate(('SIGRTMIN+3', '37')):
            image = f'registry.test/stop:{number}'
            archive = self.containerd.root / f'stop-{number}.tar'
            images.write(archive, image, images.busybox_entries(), ['sh'],
                         stop_signal=stop)
            self.containerd.import_image(image, archive)
            container = self.run_image(
                pod, image, 'sh', '-c',
                'trap "exit 9" 37; echo up; while :; do sleep 0.1; done')
            self.wait_for(lambda c=container: pod.log(c), 'the trap')
            self.client.stop_container(container, 30)
            self.assertEqual(9, pod.status(container).exit_code)
            self.client.remove_container(container)

    def test_many_layers(self):
        """Their names are more than a page, which is what mount takes."""
        archive = self.containerd.root / 'many.tar'
        images.write(
            archive, 'registry.test/many:1', images.busybox_entries(), ['sh'],
            more=[[(f'layer-{number}', f'{number}'.encode(), 0o644)]
                  for number in range(LAYERS)])
        self.containerd.import_image('registry.test/many:1', archive)
        pod = self.pod()
        container = self.run_image(pod, 'registry.test/many:1', 'sleep',
                                   '1000')
        self.assertEqual(f'{LAYERS}\n', pod.execute(
            container, 'sh', '-c', 'ls -d /layer-* | wc -l'))
        self.assertEqual('0', pod.execute(container, 'cat', '/layer-0'))
