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
        help='Run one sandbox without a network, and a container of our own '
             'image in it, with each handler, once after each boot and after '
             'each change of its configuration. Offer the handler only when '
             'that worked and the container was not on the kernel of this '
             'host.'),
    cfg.IntOpt(
        'retry_interval',
        default=300, min=10,
        help='The longest time, in seconds, between two attempts with a '
             'handler whose sandbox fails. It is tried again after a few '
             'seconds first, then at twice the interval each time.'),
    cfg.IntOpt(
        'wait',
        default=12, min=0, max=600,
        help='While the first sandbox of a handler is still starting, a '
             'request that must know which handlers are usable waits this '
             'many seconds, and then goes on without the handler. Keep it '
             'below the rpc_timeout of the Zun driver.'),
]
