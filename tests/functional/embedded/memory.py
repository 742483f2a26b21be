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

"""A guest that uses all the memory that it has."""

from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from tests.functional.embedded import base

MIB = 1 << 20


def fill(case: base.EmbeddedTestCase, read_mib: int) -> None:
    """Fill page cache, and then a tmpfs outside of the container's limit.

    The pod must survive both, with a limit of its memory and without one.

    :param read_mib: size of the file that is read, more than a VM has
    """
    for limit in (161, 0):
        pod = case.pod(resources=pb.LinuxContainerResources(
            memory_limit_in_bytes=limit * MIB))
        case.assertLess(pod.state['memory_mib'], read_mib)
        limited, free = pod.run(memory=limit * MIB), pod.run()
        # sparse, but both the guest and the host cache it
        read = case.client.exec_sync(
            limited if limit else free,
            ['sh', '-c', f'truncate -s {read_mib}M /big && '
                         'cat /big >/dev/null'], 300)
        case.assertEqual(0, read.exit_code, read)
        # either the tmpfs is full, or the guest's own limit ended dd
        done = case.client.exec_sync(
            free, ['dd', 'if=/dev/zero', 'of=/dev/shm/x', 'bs=1M'], 120)
        case.assertNotEqual(0, done.exit_code)
        case.assertEqual('alive\n', pod.execute(limited, 'echo', 'alive'))
        pod.remove()
