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

"""[cni]: the connection between kata-cni and kata-compute."""

from oslo_config import cfg

GROUP = cfg.OptGroup('cni', title='Network plugging')

OPTS = [
    cfg.StrOpt(
        'socket_path',
        default='/run/kata-openstack/cni.sock',
        help='Unix socket on which kata-compute serves kata-cni. Set '
             '"socket" in the CNI configuration of containerd to the same '
             'path.'),
    cfg.IntOpt(
        'timeout',
        default=60, min=1,
        help='Maximum number of seconds for each call of ovs-vsctl, with which '
             'kata-compute plugs and unplugs a port.'),
]
