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

This is our only group that is registered on Zun's ConfigOpts. It belongs in
the configuration file of zun-compute.
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
        help='Runtime of containers and capsules that do not request one. '
             'With "kata", kata-compute chooses the first suitable runtime '
             'handler; the name of a handler, such as "kata-qemu", selects '
             'that handler. Replaces [DEFAULT] container_runtime, whose '
             'default "runc" this driver never uses.'),
    cfg.IntOpt(
        'rpc_timeout',
        default=20,
        min=1,
        help='Seconds to wait for the answer of kata-compute to a short '
             'request, such as showing a container or reading its log. Keep '
             'it below [DEFAULT] rpc_response_timeout of zun-api, which '
             'waits for the same answer.'),
    cfg.IntOpt(
        'rpc_long_timeout',
        default=900,
        min=1,
        help='Seconds to wait for the answer of kata-compute to a long '
             'request: pulling an image, or creating, starting, stopping or '
             'deleting a container.'),
    cfg.IntOpt(
        'exec_timeout',
        default=30,
        min=1,
        help='Seconds after which a command of "openstack appcontainer exec" '
             'is killed. Keep it below [DEFAULT] rpc_response_timeout of '
             'zun-api. Replaces [docker] execute_timeout.'),
    cfg.IntOpt(
        'max_archive_mib',
        default=90,
        min=1, max=1024,
        help='Maximum size, in MiB, of the archive that "openstack '
             'appcontainer cp" gets from a container. Zun sends an archive in '
             'one message, in base64, which makes a third more of it. The '
             'default fits into the limit of RabbitMQ 3 for a message, 128 '
             'MiB (max_message_size). RabbitMQ 4 has a limit of 16 MiB by '
             'default: raise it there, or set 11 here. In the other '
             'direction, from the client to a container, the broker itself '
             'refuses what is larger.'),
    cfg.IntOpt(
        'stop_timeout',
        default=10,
        min=0,
        help='Seconds between the stop signal and the kill signal, if the '
             'request to stop or restart a container does not give them.'),
    cfg.IntOpt(
        'max_stop_timeout',
        default=300,
        min=0,
        help='Maximum number of seconds between the stop signal and the kill '
             'signal. A longer time in a request is reduced to this value. '
             'The container accepts no other operation during this time.'),
    cfg.IntOpt(
        'port_timeout',
        default=120,
        min=0,
        help="Seconds within which Neutron's agent must set up the ports of "
             'a container (status ACTIVE), counted from the request to start '
             'it, when its virtual machine already runs. The container starts '
             'as soon as the ports are set up. 0 means that it starts at '
             'once, although it may have no network for some time.'),
    cfg.StrOpt(
        'orphaned_pod_action',
        deprecated_name='forgotten_pods',
        default='log',
        choices=[('log', 'Log each such pod, every minute.'),
                 ('delete', 'Log each such pod and delete it, at most ten in '
                            'a minute. Nothing is deleted if the database '
                            'has a record of no pod of this node.')],
        help='Action for pods on this node that have no record in '
             "Zun's database and are older than ten minutes. No API call can "
             'stop or delete such a pod. With "delete", a database that was '
             'restored from a backup costs the pods that are newer.'),
]
