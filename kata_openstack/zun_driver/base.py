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

"""The common base of the container driver and the capsule driver."""

from typing import Any

import os_resource_classes as orc
from oslo_log import log as logging
from oslo_utils import units
import zun.conf
from zun.container import driver

from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.files import injected
from kata_openstack.zun_driver import host
from kata_openstack.zun_driver.network import ports
from kata_openstack.zun_driver import node_info
from kata_openstack.zun_driver import placement
from kata_openstack.zun_driver.records import failures
from kata_openstack.zun_driver.records import kept

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)


class KataBaseDriver(driver.BaseDriver):
    """Report resources, refuse volumes, delete pods."""

    capabilities: dict[str, bool] = {}

    def __init__(self) -> None:
        super().__init__()
        opts.register_opts(CONF, 'kata_driver')
        self._node = node_info.NodeInfo()
        self._traits: dict[str, bool] = {}
        self._disk: dict[str, Any] = {}

    def _clean_up(self, context: Any, record: Any) -> None:
        """Remove the pod and its ports after a failed create or first start.

        Zun unsets the host of such a container, so a later delete does not
        reach the driver.
        """
        try:
            client.api().delete_pod(client.context(context),
                                    client.host(record), record.uuid, True)
        except exception.KataError as e:
            LOG.error('Could not delete pod %s on %s: %s', record.uuid,
                      client.host(record), errors.text(e))
        try:
            ports.Network(context).release(record)
        except Exception as e:
            LOG.error('Could not release the Neutron ports of %s: %s',
                      record.uuid, errors.text(e))
        record.container_id = None
        record.addresses = {}
        kept.forget(record)

    def _delete(self, context: Any, record: Any, force: bool) -> None:
        """Delete the pod and release its ports. Idempotent.

        A forced delete releases the ports also if the node does not answer,
        because Zun then deletes the record in any case.
        """
        try:
            client.api().delete_pod(client.context(context),
                                    client.host(record), record.uuid, force)
        except exception.KataError:
            if force:
                ports.Network(context).release(record)
            raise
        ports.Network(context).release(record)

    # volumes

    def is_volume_available(self, context: Any,
                            volume_mapping: Any) -> tuple[bool, bool]:
        """Accept every volume, so that attach_volume() can refuse it.

        Zun reports the error of attach_volume() to the user.
        """
        return True, False

    @errors.translated
    def attach_volume(self, context: Any, volume_mapping: Any) -> None:
        try:
            self._refuse_volume(volume_mapping)
        except exception.Unsupported as e:
            failures.refused_volume(
                context, volume_mapping.container_uuid, str(e))
            raise

    @staticmethod
    def _refuse_volume(volume_mapping: Any) -> None:
        if volume_mapping.volume_provider == injected.PROVIDER:
            return  # the driver's create() writes the file
        raise exception.Unsupported(
            operation='Cinder volumes',
            remedy='Keep the data in a service that the container reaches '
                   'over its network, such as an object store or a '
                   'database.')

    def detach_volume(self, context: Any, volume_mapping: Any) -> None:
        """Do nothing: no volume is ever attached."""

    def delete_volume(self, context: Any, volume_mapping: Any) -> None:
        """Delete a volume; a file goes with its container."""
        if volume_mapping.volume_provider != injected.PROVIDER:
            super().delete_volume(context, volume_mapping)

    # resources

    def get_host_numa_topology(self) -> Any:
        return host.numa_topology()

    def get_pci_resources(self) -> str:
        """Return an empty JSON list: no PCI devices are offered.

        Zun's own method runs lspci, which the node need not have.
        """
        return '[]'

    def get_host_mem(self) -> tuple[int, int, int, int]:
        """Return total, free, available and used memory in KiB."""
        info = self._node.get()
        if info is None:
            return super().get_host_mem()
        kib = units.Mi // units.Ki
        return (info['mem_total'] * kib, info['mem_free'] * kib,
                info['mem_available'] * kib, info['mem_used'] * kib)

    def _disk_info(self) -> dict[str, Any]:
        """Return the node's last report of its disk; empty without any."""
        info = self._node.get() or {}
        if 'disk_total' in info:
            self._disk = info
        return self._disk

    def node_support_disk_quota(self) -> bool:
        """Return True, so that Zun passes every limit to the node.

        Otherwise Zun would ignore its default_disk, and refuse --disk without
        a reason. A node that cannot keep a limit refuses the container, with
        the reason and the remedy.
        """
        return True

    def get_total_disk_for_container(self) -> tuple[int, int]:
        """Return the total and the reserved GiB of containerd's disk."""
        info = self._disk_info()
        if not info:
            return super().get_total_disk_for_container()
        total = info['disk_total']
        reserved = int(total * CONF.compute.reserve_disk_for_image)
        return total, min(max(reserved, info['disk_held_back']), total)

    def get_available_resources(self) -> dict[str, Any]:
        """Return the host's resources for Zun. Never raises.

        While kata-compute does not answer, the host reports no runtimes.
        """
        info = self._node.get(fresh=True) or {}
        data = super().get_available_resources()
        for key, value in host.platform().items():
            data[key] = info.get(key, value)
        data['disk_quota_supported'] = bool(
            self._disk_info().get('disk_quota_supported'))
        return data

    def capabilities_as_traits(self) -> dict[str, bool]:
        """Return the traits that update_provider_tree() decided on.

        Zun calls this right after it.
        """
        return dict(self._traits)

    def update_provider_tree(self, provider_tree: Any,
                             nodename: str) -> None:
        """Update inventory and traits, unless Placement would refuse it.

        :mod:`kata_openstack.zun_driver.placement` explains why an update may
        have to wait. Traits that the node has lost are listed as False,
        because Zun removes only listed traits.
        """
        before = provider_tree.data(nodename)
        super().update_provider_tree(provider_tree, nodename)
        info = self._node.get()
        self._hold_back_memory(provider_tree, before, info)
        self._hold_back_disk(provider_tree, before.name)
        old = set(filter(objects.is_our_trait, before.traits))
        new = old if info is None else {
            trait for trait, held in info.get('traits', {}).items()
            if held}
        if ((new != old or provider_tree.has_inventory_changed(
                nodename, before.inventory))
                and not placement.is_current(before)):
            LOG.debug('Postponed the update of resource provider %s: its '
                      'cached generation is old', nodename)
            provider_tree.update_inventory(nodename, before.inventory)
            new = old
        self._traits = {trait: trait in new for trait in old | new}

    def _hold_back_disk(self, provider_tree: Any, name: str) -> None:
        """Reserve in Placement the space that no container can have."""
        inventory = dict(provider_tree.data(name).inventory)
        disk = dict(inventory[orc.DISK_GB])
        held_back = self._disk_info().get('disk_held_back', 0)
        disk['reserved'] = min(max(disk['reserved'], held_back),
                               disk['total'] - 1)
        inventory[orc.DISK_GB] = disk
        provider_tree.update_inventory(name, inventory)

    @staticmethod
    def _hold_back_memory(provider_tree: Any, before: Any,
                          info: dict[str, Any] | None) -> None:
        """Reserve in Placement what kata-compute would refuse to a pod.

        The memory of VMs cannot be promised twice, so its allocation ratio
        is 1. While kata-compute does not answer, the figures stay.
        """
        inventory = dict(provider_tree.data(before.name).inventory)
        memory = dict(inventory[orc.MEMORY_MB])
        known = before.inventory.get(orc.MEMORY_MB, {}).get('reserved', 0)
        held_back = known if info is None else info.get('mem_held_back', 0)
        memory['allocation_ratio'] = 1.0
        # Placement wants a capacity of at least 1
        memory['reserved'] = min(max(memory['reserved'], held_back),
                                 memory['total'] - 1)
        inventory[orc.MEMORY_MB] = memory
        provider_tree.update_inventory(before.name, inventory)
