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
"""[canary]: a first sandbox of each handler, before pods get it."""

from oslo_config import cfg

GROUP = cfg.OptGroup('canary', title='Canary sandboxes')

OPTS = [
    cfg.BoolOpt(
        'enabled',
        default=True,
        help='Test each runtime handler with a canary sandbox before the '
             'node offers it: start one container, from an image of '
             'kata-openstack, in a sandbox without a network. The node '
             'offers a handler only if this works and the container runs on '
             "another kernel than the host's. The test runs once after each "
             "boot and after each change of the handler's configuration."),
    cfg.IntOpt(
        'retry_interval',
        default=300, min=10,
        help='Maximum number of seconds between two tests of a handler whose '
             'canary sandbox fails. The first retry comes after a few '
             'seconds; each further one doubles the interval, up to this '
             'maximum.'),
    cfg.IntOpt(
        'wait',
        default=12, min=0, max=600,
        help='Maximum number of seconds that requests wait for the canary '
             'sandbox of a handler without a result. The time counts from '
             'the moment when kata-compute finds that the result is missing. '
             'After that, requests proceed without the handler. Applies to '
             'requests that need the list of usable handlers, such as the '
             'creation of a pod. Keep it below [kata_driver] rpc_timeout.'),
]
