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

"""The interface of VIF plugins; entry points ``kata_openstack.vif``.

The name of the entry point is the port's ``binding:vif_type``. Another
package can register a plugin under that namespace; it needs only this class.
"""

import abc
from collections.abc import Callable
from collections.abc import Iterator
import contextlib

from oslo_config import cfg

from kata_openstack import exception
from kata_openstack import objects

# Linux limits interface names to 15 characters (IFNAMSIZ), and Neutron's
# agents find a port by the first 11 characters of its ID.
DEVICE_PREFIX = 'tap'


def device_name(port_id: str) -> str:
    """Return the name of a port's interface on the host."""
    return f'{DEVICE_PREFIX}{port_id[:11]}'


@contextlib.contextmanager
def explained(port_id: str, step: str,
              remedy: str = "See kata-compute's log on the node."
              ) -> Iterator[None]:
    """:raises NetworkFailed: instead of OSError and ValueError"""
    try:
        yield
    except OSError as e:
        raise exception.NetworkFailed(
            id=port_id, why=f'{step}: {e.strerror or e}', remedy=remedy) from e
    except ValueError as e:
        raise exception.NetworkFailed(
            id=port_id, why=f'{step}: {e}',
            remedy='Correct the subnet in Neutron.') from e


class VifPlugin(abc.ABC):
    """One instance per process; calls for different pods may overlap."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf

    def check(self, vif: objects.Vif) -> None:  # noqa: B027
        """Refuse a port whose binding asks for something that plug lacks.

        It is called before anything is created.

        :raises NetworkFailed: with the remedy
        """

    @abc.abstractmethod
    def plug(self, vif: objects.Vif, netns: str, ifname: str, *,
             pod_uuid: str, sandbox_id: str) -> None:
        """Put an interface with the port's addresses into a namespace.

        Replace an interface that an earlier sandbox of the pod left.

        :param netns: path of the network namespace
        :param ifname: the name inside it
        :param sandbox_id: set it as the alias of the host's interface,
            which is how kata-compute finds an interface's owner
        :raises NetworkFailed: after removing everything it created
        """

    @abc.abstractmethod
    def unplug(self, vif: objects.Vif) -> None:
        """Remove everything that plug created, as far as it exists.

        :raises NetworkFailed:
        """

    @abc.abstractmethod
    def reconcile(self, port_ids: Callable[[], set[str]]) -> list[str]:
        """Remove interfaces without a pod, left when kata-compute died.

        :param port_ids: returns the port IDs of all pods of this node, at
            that moment. Call it after listing the interfaces: then it
            includes the port of each listed interface that a pod uses.
        :returns: names of the interfaces that were removed
        """
