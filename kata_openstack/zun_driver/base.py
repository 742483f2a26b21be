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

"""What the container and the capsule driver have in common."""

from typing import Any

from oslo_log import log as logging
from oslo_utils import units
import zun.conf
from zun.container import driver

from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver import host
from kata_openstack.zun_driver.network import ports
from kata_openstack.zun_driver import node_info
from kata_openstack.zun_driver import placement
from kata_openstack.zun_driver import translate

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)
TRAIT_PREFIX = 'CUSTOM_KATA_'


class KataBaseDriver(driver.BaseDriver):
    """Resources, volumes, and cleaning up."""

    capabilities: dict[str, bool] = {}

    def __init__(self) -> None:
        super().__init__()
        opts.register_opts(CONF, 'kata_driver')
        self._node = node_info.NodeInfo()
        self._traits: dict[str, bool] = {}

    @staticmethod
    def _host(record: Any) -> str:
        """Where the pod is.

        Zun's clean-up of auto-removed containers does not look whether they
        are on this host.
        """
        return record.host or CONF.host

    def _clean_up(self, context: Any, record: Any) -> None:
        """After a failed create or first start: leave nothing anywhere.

        Zun forgets the host of such a container, so that no later delete
        would get here.
        """
        try:
            client.api().delete_pod(client.context(context),
                                    self._host(record), record.uuid, True)
        except exception.KataError as e:
            LOG.error('Pod %s may be left on %s: %s', record.uuid,
                      self._host(record), errors.text(e))
        try:
            ports.Network(context).release(record)
        except Exception as e:
            LOG.error('Ports of %s may be left in Neutron: %s', record.uuid,
                      errors.text(e))
        record.container_id = None
        record.addresses = {}
        translate.forget(record)

    def _delete(self, context: Any, record: Any, force: bool) -> None:
        """Idempotent: whatever is gone already is fine.

        When the node does not answer and the user insists, the ports are
        given back even so: Zun forgets the container in any case then.
        """
        try:
            client.api().delete_pod(client.context(context),
                                    self._host(record), record.uuid, force)
        except exception.KataError:
            if force:
                ports.Network(context).release(record)
            raise
        ports.Network(context).release(record)

    # volumes

    def is_volume_available(self, context: Any,
                            volume_mapping: Any) -> tuple[bool, bool]:
        """True for all: attach_volume() is where the refusal is reported."""
        return True, False

    @errors.translated
    def attach_volume(self, context: Any, volume_mapping: Any) -> None:
        placement.free(context, volume_mapping.container_uuid)
        if volume_mapping.volume_provider == 'local':
            raise exception.Unsupported(
                operation='files and folders given with --mount yet',
                remedy='Put the content into the image, or into an '
                       'environment variable.')
        raise exception.Unsupported(
            operation='Cinder volumes yet',
            remedy='Create the container without --mount.')

    def detach_volume(self, context: Any, volume_mapping: Any) -> None:
        """Nothing was attached."""

    # resources

    def get_host_numa_topology(self) -> Any:
        return host.numa_topology()

    def get_pci_resources(self) -> str:
        """JSON. No devices, and no need for lspci."""
        return '[]'

    def get_host_mem(self) -> tuple[int, int, int, int]:
        """KiB: total, free, available, used."""
        info = self._node.get()
        if info is None:
            return super().get_host_mem()
        kib = units.Mi // units.Ki
        return (info['mem_total'] * kib, info['mem_free'] * kib,
                info['mem_available'] * kib, info['mem_used'] * kib)

    def get_available_resources(self) -> dict[str, Any]:
        """Never raises: a host without kata-compute offers no runtimes."""
        info = self._node.get(fresh=True) or {}
        data = super().get_available_resources()
        for key, value in host.platform().items():
            data[key] = info.get(key, value)
        return data

    def capabilities_as_traits(self) -> dict[str, bool]:
        """Zun asks right after update_provider_tree(), which decides."""
        return dict(self._traits)

    def update_provider_tree(self, provider_tree: Any,
                             nodename: str) -> None:
        """Inventory and traits, when they can be changed.

        See :mod:`kata_openstack.zun_driver.placement` for why they may have
        to wait. Traits that the node no longer has are named, because Zun
        does not remove others.
        """
        before = provider_tree.data(nodename)
        super().update_provider_tree(provider_tree, nodename)
        info = self._node.get()
        old = {t for t in before.traits if t.startswith(TRAIT_PREFIX)}
        new = old if info is None else {
            trait for trait, held in info.get('traits', {}).items()
            if held}
        if ((new != old or provider_tree.has_inventory_changed(
                nodename, before.inventory))
                and not placement.is_current(before)):
            LOG.debug('The resource provider is updated later')
            provider_tree.update_inventory(nodename, before.inventory)
            new = old
        self._traits = {trait: trait in new for trait in old | new}
