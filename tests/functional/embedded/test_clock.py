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

"""The clock of a guest follows the clock of its node."""

import itertools
import time

from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from tests.functional.embedded import base
from tests.functional.embedded import clocks
from tests.functional import images


class TestClock(base.EmbeddedTestCase):
    def test_it_is_right_from_the_start(self):
        pod = self.pod()
        container = clocks.run(pod, 0.5)
        time.sleep(8)
        found = clocks.printed(pod, container)
        self.assertGreater(len(found), 8)
        errors = [node - guest for node, guest in found]
        self.assertLess(abs(min(errors, key=abs)), 0.05, errors)
        self.assertLess(abs(errors[-1]), 0.05 + clocks.WAY, errors)
        for before, after in itertools.pairwise(g for _, g in found):
            self.assertLess(before, after)

    def test_it_is_set_forward_when_it_is_behind(self):
        """As after the VM was stopped."""
        pod = self.pod()
        container = clocks.run(pod, 0.5)
        setter = self.client.create_container(pod.id, pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name='setter'),
            image=pb.ImageSpec(image=images.BUSYBOX),
            command=['sh', '-c', 'date -s "2020-01-01 00:00" > /dev/null; '
                                 'echo $EPOCHREALTIME'],
            log_path='setter.log',
            linux=pb.LinuxContainerConfig(
                security_context=pb.LinuxContainerSecurityContext(
                    capabilities=pb.Capability(
                        add_capabilities=['SYS_TIME'])))), pod.config)
        self.client.start_container(setter)
        self.assertEqual(0, pod.wait(setter).exit_code)

        # the next comparison may come before the other container looks
        (when, wrong), = clocks.printed(pod, setter)
        self.assertGreater(when - wrong, 1000)

        def is_right():
            node, guest = clocks.printed(pod, container)[-1]
            return node > when and abs(node - guest) < 0.1
        self.wait_for(is_right, 'the clock is right')
