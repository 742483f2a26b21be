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

"""[cni]: where kata-cni finds kata-compute."""

from oslo_config import cfg

GROUP = cfg.OptGroup('cni', title='Network plugging')

OPTS = [
    cfg.StrOpt(
        'socket_path',
        default='/run/kata-openstack/cni.sock',
        help='Socket on which kata-compute serves kata-cni. Name the same '
             'one as "socket" in the CNI configuration of containerd.'),
    cfg.IntOpt(
        'timeout',
        default=60, min=1,
        help='Seconds for one program run while a network is plugged.'),
]
