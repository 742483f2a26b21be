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

"""[containerd]: where containerd listens, and how long it may take."""

from oslo_config import cfg

GROUP = cfg.OptGroup('containerd', title='containerd')

OPTS = [
    cfg.StrOpt(
        'address',
        default='/run/containerd/containerd.sock',
        help="containerd's socket."),
    cfg.StrOpt(
        'namespace',
        default='k8s.io',
        help="containerd's namespace of its CRI plugin. containerd fixes it; "
             'change it only together with containerd.'),
    cfg.IntOpt(
        'timeout',
        default=30, min=1,
        help='Seconds for a call that only asks or records.'),
    cfg.IntOpt(
        'sandbox_timeout',
        default=180, min=1,
        help='Seconds for a call that starts or stops a VM or a process in '
             'one. Slow hosts (emulation, nested virtualisation) need more.'),
    cfg.IntOpt(
        'pull_timeout',
        default=900, min=1,
        help='Seconds for the pull of one image.'),
    cfg.ListOpt(
        'registry_mirrors',
        default=[],
        help='Mirrors that containerd asks before a registry, as '
             'REGISTRY=URL, for example docker.io=https://mirror.example. '
             'Name a registry again for a second mirror. They are written '
             'by "kata-openstack containerd configure".'),
]
