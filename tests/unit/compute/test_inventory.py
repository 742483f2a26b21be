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

"""Traits of a node."""

from tests.unit import base

from kata_openstack.compute import inventory
from kata_openstack.runtime import node


class TraitsTest(base.TestCase):

    def test_usable_ones_only(self):
        states = [
            node.HandlerState(name='kata-qemu', hypervisor='qemu',
                              usable=False, reason='', accelerator='kvm'),
            node.HandlerState(name='kata-embedded', hypervisor='embedded',
                              usable=True, reason='', accelerator='tcg')]
        self.assertEqual(
            {'CUSTOM_KATA': True, 'CUSTOM_KATA_EMBEDDED': True,
             'CUSTOM_KATA_TCG': True}, inventory.traits(states))
        self.assertEqual({}, inventory.traits(states[:1]))
