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

"""What a VIF plugin does; entry points ``kata_openstack.vif``.

The name of the entry point is the port's ``binding:vif_type``. A plugin
from another package is registered under that namespace and needs nothing
but this class.
"""

import abc
from collections.abc import Callable

from oslo_config import cfg

from kata_openstack import objects

# Linux' limit for interface names (IFNAMSIZ) is 15 characters, and Neutron's
# agents look for a port by the first 11 of its id.
DEVICE_PREFIX = 'tap'


def device_name(port_id: str) -> str:
    """The host's interface of a port."""
    return f'{DEVICE_PREFIX}{port_id[:11]}'


class VifPlugin(abc.ABC):
    """One instance a process; calls for different pods may overlap."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf

    @abc.abstractmethod
    def plug(self, vif: objects.Vif, netns: str, ifname: str, *,
             pod_uuid: str, sandbox_id: str) -> None:
        """Put an interface with the port's addresses into a namespace.

        What an earlier sandbox of the pod left of the port is replaced.

        :param netns: path of the network namespace
        :param ifname: the name inside it
        :param sandbox_id: to be kept as the host interface's alias: it is
            how others know whose it is
        :raises NetworkFailed: and nothing of it is left
        """

    @abc.abstractmethod
    def unplug(self, vif: objects.Vif) -> None:
        """Remove all that plug made; what is gone already is fine.

        :raises NetworkFailed:
        """

    @abc.abstractmethod
    def reconcile(self, port_ids: Callable[[], set[str]]) -> list[str]:
        """Remove what no pod has any more, from the death of kata-compute.

        :param port_ids: returns those of all pods of this node, at that
            moment. To be called after the interfaces are listed: so the
            port of each that was found is among them, if a pod has it.
        :returns: names of the interfaces that were removed
        """
