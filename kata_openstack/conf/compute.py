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

"""[compute]: the node service kata-compute."""

from oslo_config import cfg

GROUP = cfg.OptGroup('compute', title='kata-compute')

OPTS = [
    cfg.BoolOpt(
        'allow_privileged',
        default=False,
        help='Run containers that ask to be privileged. Inside its sandbox '
             'such a container may do anything to the guest kernel; the '
             "host's devices are not given to it."),
    cfg.IntOpt(
        'max_log_size_mib',
        default=4, min=1, max=64,
        help='The most that one request for logs returns, in MiB, counted '
             'from the end. Logs travel through the message broker.'),
    cfg.IntOpt(
        'max_log_file_mib',
        default=64, min=1,
        help="The size, in MiB, at which a container's log is set aside and "
             'a new one begun. The one that was set aside before is removed '
             'then, so that a container has twice this on disk, and what it '
             'writes in some seconds.'),
    cfg.IntOpt(
        'max_exec_output_mib',
        default=4, min=1, max=14,
        help='The most that one exec returns, in MiB. The rest is cut off.'),
    cfg.IntOpt(
        'resync_interval',
        default=60, min=5,
        help='Seconds between comparisons of what kata-compute knows with '
             'what containerd has, beside those after every reconnection.'),
]
