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

"""[containerd]: the address and the timeouts of containerd."""

from oslo_config import cfg

GROUP = cfg.OptGroup('containerd', title='containerd')

OPTS = [
    cfg.StrOpt(
        'address',
        default='/run/containerd/containerd.sock',
        help='Path of the Unix socket of containerd.'),
    cfg.StrOpt(
        'namespace',
        default='k8s.io',
        help='containerd namespace of the CRI plugin. containerd fixes this '
             'name; change it only for a containerd that uses another one.'),
    cfg.IntOpt(
        'timeout',
        default=30, min=1,
        help='Timeout, in seconds, of short calls to containerd, which only '
             'read or write records.'),
    cfg.IntOpt(
        'sandbox_timeout',
        default=180, min=1,
        help='Timeout, in seconds, of calls that start or stop a VM or a '
             'process in a VM. Slow hosts (emulation, nested virtualisation) '
             'need a higher value.'),
    cfg.IntOpt(
        'pull_timeout',
        default=900, min=1,
        help='Timeout, in seconds, of the pull of one image.'),
    cfg.ListOpt(
        'registry_mirrors',
        default=[],
        help='Registry mirrors, as a list of REGISTRY=URL, for example '
             'docker.io=https://mirror.example. containerd tries the mirrors '
             'of a registry before the registry itself. Repeat a registry to '
             'give it several mirrors. The option takes effect when you run '
             '"kata-openstack containerd configure".'),
]
