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

"""A kata-compute that serves through one of oslo.messaging's own brokers."""

from typing import Any

from oslo_config import cfg
import oslo_messaging
from oslo_messaging import conffixture
from tests.unit import base

from kata_openstack.compute import manager
from kata_openstack.compute import rpcapi
from kata_openstack import exception


def serve(case: base.TestCase, url: str, parts: Any,
          threads: int | None = None) -> Any:
    """Serve as node n1 until the end of the test.

    :param parts: stands in for pods, containers, images, inventory and
        consoles.
    :returns: the transport
    """
    conf = cfg.ConfigOpts()
    case.useFixture(conffixture.ConfFixture(conf))
    conf([], default_config_files=[], default_config_dirs=[])
    transport = oslo_messaging.get_rpc_transport(
        conf, url, allowed_remote_exmods=[exception.__name__])
    server = oslo_messaging.get_rpc_server(
        transport, oslo_messaging.Target(
            exchange=rpcapi.EXCHANGE, topic=rpcapi.TOPIC, server='n1'),
        [manager.ComputeManager(*[parts] * 10), manager.Versions()],
        executor='threading',
        access_policy=oslo_messaging.DefaultRPCAccessPolicy)
    server.start(override_pool_size=threads)
    case.addCleanup(server.wait)
    case.addCleanup(server.stop)
    return transport
