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

"""[kata_driver]: the driver inside zun-compute.

This is the only group of ours that is registered on Zun's own options; put
it into the configuration file of zun-compute.
"""

from oslo_config import cfg

GROUP = cfg.OptGroup(
    'kata_driver',
    title='The Zun driver of kata-openstack',
    help='Options of the container and capsule driver "kata", read by '
         'zun-compute.')

OPTS = [
    cfg.StrOpt(
        'default_runtime',
        default='kata',
        help='Runtime of containers and capsules that ask for none. "kata" '
             'lets kata-compute choose the first handler that fits; a '
             'handler name such as "kata-qemu" fixes it. Takes the place of '
             '[DEFAULT] container_runtime, whose default "runc" is never '
             'used here.'),
    cfg.IntOpt(
        'rpc_timeout',
        default=20,
        min=1,
        help='Seconds to wait for kata-compute to answer a short request, '
             'such as showing a container or reading its log. Keep it below '
             'the rpc_response_timeout of zun-api, which waits meanwhile.'),
    cfg.IntOpt(
        'rpc_long_timeout',
        default=900,
        min=1,
        help='Seconds to wait for kata-compute to pull an image, or to '
             'create, start, stop or delete a container.'),
    cfg.IntOpt(
        'exec_timeout',
        default=30,
        min=1,
        help='Seconds that a command given to "openstack appcontainer exec" '
             'may run before it is killed. Keep it below the '
             'rpc_response_timeout of zun-api. Takes the place of [docker] '
             'execute_timeout.'),
    cfg.IntOpt(
        'stop_timeout',
        default=10,
        min=0,
        help='Seconds between the stop signal and the kill signal when the '
             'request does not say.'),
    cfg.IntOpt(
        'max_stop_timeout',
        default=300,
        min=0,
        help='Most seconds between the stop signal and the kill signal, '
             'whatever a user asks for; longer times are shortened to it. '
             'No other operation on the container is possible meanwhile.'),
    cfg.StrOpt(
        'forgotten_pods',
        default='delete',
        choices=[('delete', 'Delete them, and log it.'),
                 ('log', 'Only log them, each minute.')],
        help='What to do with pods of this node that have no record in '
             "Zun's database, ten minutes after they were made. Nobody can "
             'ask for their end any more. Choose "log" before zun-compute '
             'is pointed at another database.'),
]
