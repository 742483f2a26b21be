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

"""Finds the plugins for VIF types, and the one for a port."""

from collections.abc import Mapping
from typing import Any
from typing import Final

from oslo_config import cfg
from oslo_log import log as logging
from stevedore import extension

from kata_openstack.compute.network.vif import base
from kata_openstack import exception
from kata_openstack import objects

LOG = logging.getLogger(__name__)

NAMESPACE: Final = 'kata_openstack.vif'


def load(conf: cfg.ConfigOpts) -> dict[str, base.VifPlugin]:
    """Return an instance of each plugin by its VIF type."""
    manager: Any = extension.ExtensionManager(
        NAMESPACE, invoke_on_load=True, invoke_args=(conf,),
        on_load_failure_callback=_load_failure)
    return {found.name: found.obj for found in manager}


def _load_failure(manager: Any, entry_point: Any,
                  error: BaseException) -> None:
    LOG.error('Could not load VIF plugin %s: %s', entry_point.name, error)


def of(plugins: Mapping[str, base.VifPlugin], vif: objects.Vif
       ) -> base.VifPlugin:
    """:raises NetworkFailed: no plugin plugs this type"""
    try:
        return plugins[vif.vif_type]
    except KeyError:
        raise exception.NetworkFailed(
            id=vif.port_id,
            why=f'VIF type {vif.vif_type!r} has no plugin on this node',
            remedy='Check that the Neutron agent of this node is alive '
                   'and can bind the port. Supported VIF types: '
                   f'{", ".join(sorted(plugins))}.') from None


def check(plugins: Mapping[str, base.VifPlugin], vif: objects.Vif) -> None:
    """Refuse a port that cannot be plugged, before anything is created.

    :raises NetworkFailed:
    """
    of(plugins, vif).check(vif)
    if not vif.fixed_ips:
        raise exception.NetworkFailed(
            id=vif.port_id, why='the port has no IP address',
            remedy=f'Add a subnet to network {vif.network_id} or an '
                   f'address to port {vif.port_id}. Then delete the '
                   'container and create it again.')
