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

"""[vif_ovs]: plugging ports into Open vSwitch."""

from oslo_config import cfg

GROUP = cfg.OptGroup('vif_ovs', title='VIF type ovs')

OPTS = [
    cfg.StrOpt(
        'ovsdb_connection',
        default='unix:/run/openvswitch/db.sock',
        help='Connection to the database of the Open vSwitch that the '
             'Neutron agent of this node manages, in the format of ovs-vsctl '
             '--db.'),
    cfg.StrOpt(
        'integration_bridge',
        default='br-int',
        help='Bridge for ports whose binding does not name a bridge.'),
    cfg.StrOpt(
        'datapath_type',
        default='',
        choices=[('', 'The datapath that the binding of the port names, or '
                      '"system" if it names none.'),
                 ('system', 'The kernel datapath.'),
                 ('netdev', 'The userspace datapath.')],
        help='Datapath type that the integration bridge has. This option '
             'does not change the bridge. With netdev, transmit checksum '
             'offloading is switched off on the interfaces of pods, because '
             'that datapath passes packets on without a checksum.'),
]
