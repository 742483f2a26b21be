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

"""[vif_ovs]: ports on Open vSwitch."""

from oslo_config import cfg

GROUP = cfg.OptGroup('vif_ovs', title='VIF type ovs')

OPTS = [
    cfg.StrOpt(
        'ovsdb_connection',
        default='unix:/run/openvswitch/db.sock',
        help='Database of the Open vSwitch that the Neutron agent of this '
             'node manages, as ovs-vsctl --db wants it.'),
    cfg.StrOpt(
        'integration_bridge',
        default='br-int',
        help='Bridge for ports whose binding names none.'),
    cfg.StrOpt(
        'datapath_type',
        default='',
        choices=[('', 'as the binding says, or else "system"'),
                 ('system', 'the kernel datapath'),
                 ('netdev', 'the userspace datapath')],
        help='Datapath of the integration bridge. The bridge itself is '
             'never changed; the userspace datapath needs checksum '
             'offloading switched off inside pods.'),
]
