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

"""[notifications]: lifecycle events on the message bus."""

from oslo_config import cfg

GROUP = cfg.OptGroup('notifications', title='Lifecycle notifications')

OPTS = [
    cfg.StrOpt(
        'topic',
        default='versioned_notifications',
        help='Topic of the versioned notifications about sandboxes and '
             'containers. They are sent only if '
             '[oslo_messaging_notifications] driver is set, normally to '
             'messagingv2. The message broker stores them until a consumer '
             'reads them. Without a consumer, limit the queue with a policy '
             'of the broker (message-ttl). Other services, such as Nova, use '
             'the default topic too.'),
]
