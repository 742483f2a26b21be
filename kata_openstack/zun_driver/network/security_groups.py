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

"""The security groups of a pod's ports."""

from collections.abc import Iterable
from typing import Any

from neutronclient.common import exceptions as neutron_exc
from oslo_log import log as logging
from oslo_utils import uuidutils
from zun.common import consts
from zun.common import utils as zun_utils

from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.network import vif

LOG = logging.getLogger(__name__)


class SecurityGroups:

    def __init__(self, context: Any, neutron: Any) -> None:
        """:param neutron: ``zun.network.neutron.NeutronAPI``"""
        self._context = context
        self._neutron = neutron
        self._admin = neutron.admin_client

    def of(self, record: Any) -> list[str] | None:
        """Return the IDs, or None for the project's default group.

        Exposed ports get a security group of their own. In a rebuild, the
        preserved ports may still have it.
        """
        ports = _exposed_ports(record)
        if ports and not self._is_exposed(record):
            group = self._neutron.create_security_group({'security_group': {
                'name': vif.port_name(record.uuid)}})['security_group']['id']
            self._neutron.expose_ports(group, ports)
            self._expose_in_ipv6(group, ports)
            record.security_groups = [*(record.security_groups or []), group]
        groups = record.security_groups
        if not groups:
            return None
        if all(uuidutils.is_uuid_like(g) for g in groups):
            return list(groups)
        return zun_utils.get_security_group_ids(self._context, groups)

    def _expose_in_ipv6(self, group: str, ports: Iterable[str]) -> None:
        """Add the rules that Zun's expose_ports() adds for IPv4 only."""
        for port in ports:
            number, _, protocol = port.partition('/')
            self._neutron.create_security_group_rule({'security_group_rule': {
                'security_group_id': group, 'direction': 'ingress',
                'ethertype': 'IPv6', 'protocol': protocol,
                'port_range_min': number, 'port_range_max': number,
                'remote_ip_prefix': '::/0'}})

    def release(self, record: Any) -> None:
        """Delete the group of the exposed ports, unless a port has it."""
        if not _exposed_ports(record):
            return
        try:
            for group in self._exposing_groups(record):
                self._admin.delete_security_group(group)
                record.security_groups = [
                    g for g in record.security_groups or [] if g != group]
        except neutron_exc.Conflict as e:
            LOG.debug('The security group of the exposed ports of %s stays: '
                      '%s', record.uuid, e)
        except neutron_exc.NeutronException as e:
            LOG.error('Could not delete the security group of the exposed '
                      'ports of %s: %s', record.uuid, e)

    def _is_exposed(self, record: Any) -> bool:
        """Return True if the group of the exposed ports exists already."""
        known = set(record.security_groups or [])
        return bool(known and known.intersection(
            self._exposing_groups(record)))

    def _exposing_groups(self, record: Any) -> list[str]:
        return [group['id'] for group in self._admin.list_security_groups(
            name=vif.port_name(record.uuid), fields=['id'])['security_groups']]

    def add(self, record: Any, group: str) -> None:
        self._change(record, lambda groups: groups | {group})

    def remove(self, record: Any, group: str) -> None:
        self._change(record, lambda groups: groups - {group})

    def _change(self, record: Any, change: Any) -> None:
        """Change the groups of all ports, or of none.

        :raises NetworkFailed: if Neutron refuses one of the changes
        """
        tried: list[dict[str, Any]] = []
        try:
            for port in self._admin.list_ports(
                    device_id=record.uuid,
                    fields=['id', 'security_groups'])['ports']:
                tried.append(port)
                self._set(port['id'], change(set(port['security_groups'])))
        except neutron_exc.NeutronException as e:
            self._undo(record, tried)
            raise errors.network(record.uuid, e) from e

    def _undo(self, record: Any, tried: list[dict[str, Any]]) -> None:
        """Give the ports their former groups again.

        The last port is among them: Neutron may have changed it although its
        answer was lost.
        """
        for port in tried:
            try:
                self._set(port['id'], port['security_groups'])
            except neutron_exc.PortNotFoundClient:
                continue  # deleted meanwhile, which may be the first error
            except neutron_exc.NeutronException as e:
                LOG.error('Could not undo the change of the security groups '
                          'of port %s of %s; it should have %s: %s',
                          port['id'], record.uuid,
                          ', '.join(port['security_groups']) or 'none', e)

    def _set(self, port: str, groups: Iterable[str]) -> None:
        self._admin.update_port(
            port, {'port': {'security_groups': sorted(groups)}})


def _exposed_ports(record: Any) -> dict[str, Any]:
    """Return the exposed ports, such as ``{'80/tcp': {}}``.

    For a capsule: those of all its containers.
    """
    ports = dict(record.exposed_ports or {})
    if record.container_type == consts.TYPE_CAPSULE:
        for member in record.containers:
            ports.update(member.exposed_ports or {})
    return ports
