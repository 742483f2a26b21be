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

"""Sends requests to kata-compute, as zun-compute does."""

import functools
from typing import Any

from oslo_config import cfg
import oslo_messaging

from kata_openstack.compute import rpcapi
from kata_openstack.conf import opts
from kata_openstack import exception
from tools.quickstart import settings

CONTEXT = {'project_id': '', 'user_id': '', 'request_id': 'quickstart'}


@functools.cache
def api(stack: settings.Stack) -> rpcapi.ComputeAPI:
    # The global ConfigOpts: oslo.messaging's client registers its tracing
    # options there, but reads them from the ConfigOpts that it is given.
    conf = cfg.CONF
    opts.register_opts(conf)
    conf([], project='kata-openstack', default_config_files=[
        str(stack.etc / 'kata-openstack/kata.conf')])
    return rpcapi.ComputeAPI(oslo_messaging.get_rpc_transport(
        conf, allowed_remote_exmods=[exception.__name__]),
        timeout=60, long_timeout=1800)


def show_pod(stack: settings.Stack, uuid: str) -> dict[str, Any]:
    return api(stack).show_pod(CONTEXT, stack.host, uuid)
