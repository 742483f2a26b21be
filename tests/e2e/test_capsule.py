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

"""A capsule: several containers in one VM."""

from tests.e2e import base
from tools.quickstart import node


def template(name, image=base.IMAGE):
    return {
        'capsuleVersion': 'beta',
        'kind': 'capsule',
        'metadata': {'name': name},
        'spec': {'containers': [
            {'image': image, 'command': ['sh'],
             'args': ['-c', 'echo $$; cat /proc/sys/kernel/random/boot_id;'
                            f' echo {member}; sleep 3600']}
            for member in ('one', 'two')]},
    }


class CapsuleAloneTest(base.AloneTestCase):

    def test_init_containers_and_a_restart(self):
        wanted = template(self.name())
        spec = wanted['spec']
        shell = {'image': base.IMAGE, 'command': ['sh', '-c']}
        spec['initContainers'] = [{**shell, 'args': ['sleep 1']},
                                  {**shell, 'args': ['true']}]
        spec['containers'] = [
            {**shell, 'args': ['sleep 1000']},
            {**shell, 'args': ['sleep 2; exit 3']}]
        capsule = self.create_capsule(wanted)
        self.assertEqual(['Stopped'] * 2, [
            c['status'] for c in capsule.init_containers])
        pod = node.api(base.stack())
        ids = {c['container_id'] for c in self.members(pod, capsule)}
        base.wait_until('two restarts', lambda: len(
            ids.update(c['container_id'] for c in self.members(pod, capsule))
            or ids) >= 6)

    def members(self, pod, capsule):
        return pod.show_pod(node.CONTEXT, base.stack().host,
                            capsule.uuid)['containers']

    def test_two_containers_share_one_vm(self):
        before = self.look()
        capsule = self.create_capsule(template(self.name()))
        self.assertEqual(2, len(capsule.containers))
        more = self.look().beyond(before)
        self.assertEqual(1, len([process for process in more['processes']
                                 if 'qemu' in process]))
        self.assertEqual(1, len(more['neutron_ports']))
        logs = [base.wait_until('all of the log', lambda c=container: (
            len(log := self.capsule_log(c).split()) == 3 and log))
            for container in capsule.containers]
        boot_ids = {log[1] for log in logs}
        self.assertEqual(1, len(boot_ids), logs)
        self.assertEqual({'one', 'two'}, {log[2] for log in logs})

        self.remove_capsule(capsule.uuid)
        self.assert_nothing_left(before)

    def test_an_image_that_does_not_exist(self):
        before = self.look()
        image = f'{base.stack().registry}/no-such-image:1'
        capsule = self.create_capsule(template(self.name(), image), 'Error')
        self.assertIn(image, capsule.status_reason)
        self.remove_capsule(capsule.uuid)
        self.assert_nothing_left(before)
