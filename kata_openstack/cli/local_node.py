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

"""This node, seen by the commands as kata-compute sees it."""

from oslo_config import cfg

from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import grpc_channel
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.host.checks import containerd_api
from kata_openstack.runtime import node


def containerd(conf: cfg.ConfigOpts) -> cri.CriClient:
    """Return a client that does not wait for a containerd that is down."""
    return cri.CriClient(conf, grpc_channel.connect(
        conf.containerd.address, patience=0), timeout=containerd_api.TIMEOUT)


def look(conf: cfg.ConfigOpts, *, measure: bool = False) -> node.Node:
    """Probe this host, and ask its containerd if that answers.

    :param measure: measure KVM again; else use kata-compute's measurement
        of this boot, if there is one.
    """
    client = containerd(conf)
    try:
        here = node.Node(conf, containerd=native.NativeClient(
            conf, client.channel, timeout=containerd_api.TIMEOUT))
        here.refresh(measure=measure)
    finally:
        client.close()
    return here
