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

"""kata-compute: the node service."""

import os
import sys

from oslo_config import cfg
from oslo_log import log as logging
from oslo_reports import guru_meditation_report as gmr
from oslo_reports import opts as gmr_opts

from kata_openstack.conf import opts
from kata_openstack import threads
from kata_openstack import version

# Below these levels libraries log the messages that they send, or too much.
_QUIET = ['grpc=WARNING', 'oslo_messaging._drivers=INFO',
          'amqp=WARNING', 'kombu=WARNING', 'stevedore=WARNING',
          'oslo_concurrency.processutils=INFO']


def prepare(argv: list[str]) -> cfg.ConfigOpts:
    """Set up configuration and log, as in every OpenStack service.

    Returns oslo.config's global object, because oslo.messaging registers
    some of its options only there. Other modules get it from here.
    """
    import oslo_messaging as messaging

    from kata_openstack.compute import rpcapi

    conf = cfg.CONF
    opts.register_opts(conf)
    logging.register_options(conf)
    gmr_opts.set_defaults(conf)
    logging.set_defaults(
        default_log_levels=logging.get_default_log_levels() + _QUIET)
    messaging.set_transport_defaults(control_exchange=rpcapi.EXCHANGE)
    conf(argv, project='kata-openstack', prog='kata-compute',
         version=version.version())
    logging.setup(conf, 'kata-openstack')
    return conf


class _Version:
    """The name and version for Guru Meditation Reports."""

    @staticmethod
    def vendor_string() -> str:
        return 'OpenStack'

    @staticmethod
    def product_string() -> str:
        return 'kata-openstack'

    @staticmethod
    def version_string_with_package() -> str:
        return version.version()


def main() -> int:
    threads.use_threads()
    # else gRPC's C core reports each restart of containerd on stderr
    os.environ.setdefault('GRPC_VERBOSITY', 'ERROR')
    from kata_openstack.compute import service

    conf = prepare(sys.argv[1:])
    gmr.TextGuruMeditation.setup_autorun(_Version, conf=conf)
    service.run(service.Service(conf))
    return 0
