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

"""[DEFAULT]: the name of the node and the folders for its state."""

import socket

from oslo_config import cfg

GROUP = cfg.OptGroup('DEFAULT')

OPTS = [
    cfg.HostAddressOpt(
        'host',
        default=socket.gethostname(),
        sample_default='<current hostname>',
        help='Name of this node. Must be the same as [DEFAULT] host of '
             'zun-compute on this node: the Zun driver addresses its '
             'requests to kata-compute by that name.'),
    cfg.StrOpt(
        'state_path',
        default='/var/lib/kata-openstack',
        help='Folder for data that must survive a reboot: container logs, '
             'the guest image, VM templates.'),
    cfg.StrOpt(
        'run_path',
        default='/run/kata-openstack',
        help='Folder for sockets and for the state of running sandboxes. It '
             'should be on a tmpfs, as /run is, so that a reboot empties '
             'it.'),
]
