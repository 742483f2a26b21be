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

"""The RPC client with which zun-compute calls kata-compute."""

import functools
from typing import Any

import oslo_messaging
import zun.conf

from kata_openstack.compute import rpcapi
from kata_openstack.conf import opts
from kata_openstack import exception

CONF = zun.conf.CONF


@functools.lru_cache(maxsize=1)
def api() -> rpcapi.ComputeAPI:
    """Return the RPC client that both drivers share.

    It has its own transport: ``zun.common.rpc.TRANSPORT`` was created before
    this driver was loaded, and accepts only Zun's exceptions.
    """
    opts.register_opts(CONF, 'kata_driver')
    transport = oslo_messaging.get_rpc_transport(
        CONF, allowed_remote_exmods=[exception.__name__])
    return rpcapi.ComputeAPI(transport, timeout=CONF.kata_driver.rpc_timeout,
                             long_timeout=CONF.kata_driver.rpc_long_timeout)


def context(zun_context: Any) -> dict[str, Any]:
    """Return project, user and request ID, for the node's log.

    The token stays here: the node does not need it.
    """
    return {'project_id': getattr(zun_context, 'project_id', None),
            'user_id': getattr(zun_context, 'user_id', None),
            'request_id': getattr(zun_context, 'request_id', None)}


def host(record: Any) -> str:
    """Return the host of the pod.

    It may not be this host: Zun's clean-up of auto-removed containers runs in
    every zun-compute and does not check their host.
    """
    return str(record.host or CONF.host)
