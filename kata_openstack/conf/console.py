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

"""[console]: terminals for attach and interactive exec."""

from oslo_config import cfg

GROUP = cfg.OptGroup('console', title='Terminals in containers')

OPTS = [
    cfg.HostAddressOpt(
        'host',
        default='127.0.0.1',
        help='Address on which kata-compute listens for zun-wsproxy. The '
             'default suits a node on which zun-wsproxy runs, too. On any '
             'other node, set the address that zun-wsproxy reaches. The '
             'connection is not encrypted unless cert_file is set, so it '
             'must be an address of the management network. Users and '
             'containers need no access to it.'),
    cfg.PortOpt(
        'port',
        default=6785,
        help='TCP port of that address. 0 takes any free port.'),
    cfg.StrOpt(
        'base_url',
        default='',
        help='URL at which zun-wsproxy reaches this server, if it is another '
             'than http://HOST:PORT (https with cert_file): for example '
             'https://node1.example:6785, if host is 0.0.0.0 or the '
             'certificate is for a name. At most 170 characters.'),
    cfg.StrOpt(
        'cert_file',
        default='',
        help='Certificate (PEM) of this server, with the certificates that '
             'lead to its CA. With it, the server speaks TLS only. '
             'zun-wsproxy checks it: with [docker] ca_file of its own '
             'configuration for attach, where [docker] cert_file and '
             'key_file must be set, too, and with the CAs of the environment '
             'variable REQUESTS_CA_BUNDLE for exec.'),
    cfg.StrOpt(
        'key_file',
        default='',
        help='Private key (PEM), if it is not in cert_file.'),
    cfg.IntOpt(
        'session_timeout',
        default=600, min=10, max=24 * 3600,
        help='Seconds for which a terminal that zun-compute asked for waits '
             'for its user. An attached one that was left can be used again '
             'within this time. It does not limit terminals in use.'),
    cfg.IntOpt(
        'max_sessions',
        default=256, min=2, max=4096,
        help='Number of terminals in use on this node. One project gets at '
             'most half of them, and one container at most 32. Each needs '
             'up to about 2 MiB of memory, and three file descriptors.'),
]
