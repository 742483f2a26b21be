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

"""containerd's answers."""


from kata_openstack import exception
from kata_openstack.runtime.host import capabilities as caps
from tests.unit.runtime.host.checks import base
from tests.unit.runtime.host import hosts


class Containerd:
    def __init__(self, snapshotters=(), error=None):
        self._snapshotters = snapshotters
        self._error = error

    def version(self):
        if self._error:
            raise self._error
        return '1.7.24'

    def snapshotters(self):
        return self._snapshotters


class TestContainerd(base.CheckTestCase):
    def probe(self, *args, **kwargs):
        return hosts.recorded(self).probe(
            containerd_client=Containerd(*args, **kwargs))

    def test_snapshotters(self):
        host = self.probe(['overlayfs', 'devmapper'])
        self.assertEqual((2, ('devmapper', 'overlayfs')), (
            host.containerd.config_version, host.containerd.snapshotters))
        found = caps.capabilities(host, allow_emulation=False)
        self.assertTrue(found[caps.DEVMAPPER].present)

    def test_firecracker_needs_devmapper(self):
        found = caps.capabilities(self.probe(['overlayfs']),
                                  allow_emulation=False)
        self.assertFalse(found[caps.DEVMAPPER].present)
        self.assertIn('thin pool', found[caps.DEVMAPPER].remedy)

    def test_it_does_not_answer(self):
        found = self.probe(error=exception.ContainerdUnavailable(
            address='/no', why='it is stopped')).containerd
        self.assertFalse(found.reachable)
        self.assertIn('it is stopped', found.reason)

    def test_nobody_asked(self):
        self.assertIsNone(self.host().containerd)
