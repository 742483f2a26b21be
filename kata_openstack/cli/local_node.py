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

"""The node as the commands see it: as kata-compute does."""

from oslo_config import cfg

from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import grpc_channel
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.host.checks import containerd_api
from kata_openstack.runtime import node


def containerd(conf: cfg.ConfigOpts) -> cri.CriClient:
    """A client that does not wait for a containerd that is away."""
    return cri.CriClient(conf, grpc_channel.connect(
        conf.containerd.address, patience=0), timeout=containerd_api.TIMEOUT)


def look(conf: cfg.ConfigOpts, *, measure: bool = False) -> node.Node:
    """Probe this host, and ask its containerd if it answers.

    :param measure: KVM anew; else kata-compute's measurement is taken, if
        there is one of this boot.
    """
    client = containerd(conf)
    try:
        here = node.Node(conf, containerd=native.NativeClient(
            conf, client.channel, timeout=containerd_api.TIMEOUT))
        here.refresh(measure=measure)
    finally:
        client.close()
    return here
