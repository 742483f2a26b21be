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

"""Create, bind, describe and release the Neutron ports of a pod.

zun-api has already checked, with the user's token, that the user may use the
networks, ports and security groups. Binding needs the service user, as in
Nova. Independent requests are sent in parallel: besides the start of the VM,
Neutron takes most of the time of a create.
"""

from collections.abc import Iterable
import concurrent.futures
import dataclasses
import functools
import time
from typing import Any

from neutronclient.common import exceptions as neutron_exc
from oslo_log import log as logging
from zun.common import clients
from zun.common import consts
from zun.common import context as zun_context
import zun.conf
from zun.network import neutron

from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.network import activation
from kata_openstack.zun_driver.network import binding
from kata_openstack.zun_driver.network import security_groups
from kata_openstack.zun_driver.network import vif

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)


@functools.lru_cache(maxsize=1)
def _admin_client() -> Any:
    """Return one shared client of the service user, to reuse its token."""
    return clients.OpenStackClients(
        zun_context.get_admin_context()).neutron()


@dataclasses.dataclass(kw_only=True)
class Attachment:
    """The bound ports of a pod.

    ``addresses`` has the form of Zun's records: lists by network ID.
    """

    addresses: dict[str, list[dict[str, Any]]]
    vifs: list[objects.Vif]
    nameservers: list[str]
    search_domains: list[str] = dataclasses.field(default_factory=list)


class _Networks:
    """A cache of the properties of networks, for 15 seconds.

    Many containers are created on few networks, and Neutron's requests take
    most of the time of a create besides the start of the VM.
    """

    _MAX_AGE = 15.0  # seconds
    _MAX = 1000

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, vif.Network]] = {}

    def get(self, network: str) -> vif.Network | None:
        at, found = self._known.get(network, (0.0, None))
        return found if time.monotonic() - at < self._MAX_AGE else None

    def set(self, network: str, found: vif.Network) -> None:
        if len(self._known) >= self._MAX:
            self._known.clear()
        self._known[network] = time.monotonic(), found

    def clear(self) -> None:
        self._known.clear()


_networks = _Networks()
_MAX_SEARCH_DOMAINS = 6


class Network:
    """The Neutron side of one request."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._neutron = neutron.NeutronAPI(context)
        self._neutron.admin_client = _admin_client()
        self.groups = security_groups.SecurityGroups(context, self._neutron)

    @property
    def _admin(self) -> Any:
        return self._neutron.admin_client

    def attach(self, record: Any,
               requested: Iterable[dict[str, Any]]) -> Attachment:
        """Create the ports of ``record``, or take given ones, and bind them.

        :param record: a Zun container or capsule.
        :param requested: Zun's requested networks; the first becomes eth0.
        :raises NetworkFailed: after releasing all ports again.
        """
        requested = list(requested)
        if not requested:
            raise exception.NetworkFailed(
                id=record.uuid, why='it has no networks, and no container '
                                    'runs without one',
                remedy='Delete it and create it again.')
        # A rebuild also passes our own ports, without preserve_on_delete.
        supplied = {net['port'] for net in requested
                    if net.get('port') and net.get('preserve_on_delete')}
        try:
            return self._attach(record, requested)
        except Exception as e:
            try:
                self.release(record, supplied)
            except exception.NetworkFailed:
                LOG.error('Could not release all Neutron ports of %s',
                          record.uuid)
            if isinstance(e, neutron_exc.NeutronException):
                raise errors.network(record.uuid, e) from e
            raise

    def _attach(self, record: Any,
                requested: list[dict[str, Any]]) -> Attachment:
        groups = self.groups.of(record)
        networks = {net['network'] for net in requested}
        with concurrent.futures.ThreadPoolExecutor(
                len(requested) + len(networks)) as pool:
            ports = [pool.submit(self._bind, record, net, groups)
                     for net in requested]
            found = {n: pool.submit(self._network, n) for n in networks}
        # All requests have ended here, so after a failure no port can
        # appear once the clean-up has listed them.
        attachment = Attachment(addresses={}, vifs=[], nameservers=[])
        for net, future in zip(requested, ports, strict=True):
            port = future.result()
            binding.check(port, record.uuid, CONF.host)
            network = found[net['network']].result()
            if any(fixed['subnet_id'] not in network.subnets
                   for fixed in port['fixed_ips']):
                network = self._ask(net['network'])
            attachment.addresses.setdefault(net['network'], []).extend(
                vif.addresses(port, bool(net.get('preserve_on_delete'))))
            attachment.vifs.append(vif.vif(port, network))
            for server in vif.nameservers(port, network):
                if server not in attachment.nameservers:
                    attachment.nameservers.append(server)
            domain = network.dns_domain.rstrip('.')
            if domain and domain not in attachment.search_domains:
                attachment.search_domains.append(domain)
        # resolvers and containerd take no more
        del attachment.search_domains[_MAX_SEARCH_DOMAINS:]
        if not attachment.nameservers:
            LOG.warning('%s has no DNS server, so it can resolve no names: '
                        'the subnets of its ports have none, and no DHCP '
                        'agent. To change this: openstack subnet set '
                        '--dns-nameserver <address> <subnet>', record.uuid)
        vif.single_default_route(attachment.vifs)
        return attachment

    def _bind(self, record: Any, net: dict[str, Any],
              groups: list[str] | None) -> dict[str, Any]:
        if net.get('pci_request_id'):
            raise exception.Unsupported(
                operation='SR-IOV ports',
                remedy='Use a port that was created with: openstack port '
                       'create --vnic-type normal.')
        body: dict[str, Any] = {
            'device_id': record.uuid,
            'device_owner': consts.DEVICE_OWNER_ZUN,
            consts.BINDING_HOST_ID: record.host or CONF.host,
        }
        if net.get('recheck'):
            self._recheck(net, record)
        if net.get('port'):
            return self._admin.update_port(net['port'],
                                           {'port': body})['port']
        body['name'] = vif.port_name(record.uuid)
        body['network_id'] = net['network']
        body['tenant_id'] = record.project_id
        if net.get('fixed_ip'):
            body['fixed_ips'] = [{'ip_address': net['fixed_ip']}]
        if groups is not None:
            body['security_groups'] = groups
        return self._admin.create_port({'port': body})['port']

    def _recheck(self, net: dict[str, Any], record: Any) -> None:
        """Check what zun-api checks before the first create only.

        A rebuild may come much later. By then, others may use a port of the
        user, or the project may have lost its right to use a network.
        """
        port = net.get('port')
        if not port:
            # with the token of the request
            self._neutron.get_neutron_network(net['network'])
        elif net.get('preserve_on_delete'):
            user = self._admin.show_port(
                port, fields=['device_id'])['port']['device_id']
            if user not in ('', record.uuid):
                raise exception.NetworkFailed(
                    id=record.uuid, why=f'port {port} is in use by {user}',
                    remedy='Delete the container and create it again with '
                           'another port.')

    def _network(self, network: str) -> vif.Network:
        return _networks.get(network) or self._ask(network)

    def _ask(self, network: str) -> vif.Network:
        shown = self._admin.show_network(
            network, fields=['mtu', 'dns_domain'])['network']
        subnets = self._admin.list_subnets(network_id=network)['subnets']
        dhcp_ports = []
        if not all(subnet.get('dns_nameservers') for subnet in subnets):
            dhcp_ports = self._admin.list_ports(
                network_id=network, device_owner='network:dhcp',
                fields=['device_id', 'fixed_ips'])['ports']
        found = vif.Network(mtu=shown.get('mtu') or 1500,
                            subnets={s['id']: s for s in subnets},
                            dns_domain=shown.get('dns_domain') or '',
                            dhcp_servers=vif.dhcp_servers(dhcp_ports))
        _networks.set(network, found)
        return found

    def wait_active(self, record: Any) -> None:
        """:raises NetworkFailed: after [kata_driver] port_timeout."""
        activation.wait(self._admin, record.uuid, record.host or CONF.host,
                        CONF.kata_driver.port_timeout)

    def release(self, record: Any,
                supplied: Iterable[str] | None = None) -> None:
        """Delete our ports of ``record``, and unbind those of the user.

        Lists the ports in Neutron, so that it also finds ports that a crash
        or a failed rebuild left out of the record.

        :param supplied: IDs of the user's ports; default: as recorded. A
            port that is not listed is ours if it has our name.
        :raises NetworkFailed: if a port could not be released. The other
            ports are released first.
        """
        preserve = (_preserve(record) if supplied is None
                    else dict.fromkeys(supplied, True))
        name = vif.port_name(record.uuid)
        failed = None
        for port in self._ports(record):
            keep = preserve.get(port['id'], port['name'] != name)
            try:
                if keep:
                    self._unbind(port)
                else:
                    self._admin.delete_port(port['id'])
            except neutron_exc.PortNotFoundClient:
                LOG.debug('Port %s was already deleted', port['id'])
            except neutron_exc.NeutronException as e:
                LOG.error('Could not release port %s of %s: %s',
                          port['id'], record.uuid, e)
                failed = e
        self.groups.release(record)
        if failed is not None:
            raise errors.network(record.uuid, failed) from failed

    def _ports(self, record: Any) -> list[dict[str, Any]]:
        """Return the ports bound to ``record``, and our unbound ports.

        A failed rebuild leaves our ports without a device_id.
        """
        fields = ['id', 'name', 'device_id', consts.BINDING_PROFILE]
        try:
            bound = self._admin.list_ports(device_id=record.uuid,
                                           fields=fields)['ports']
            # Filter by name: Neutron may ignore an empty device_id filter.
            named = self._admin.list_ports(
                name=vif.port_name(record.uuid), tenant_id=record.project_id,
                fields=fields)['ports']
        except neutron_exc.NeutronException as e:
            raise errors.network(record.uuid, e) from e
        return [*bound, *(p for p in named if not p['device_id'])]

    def _unbind(self, port: dict[str, Any]) -> None:
        profile = dict(port.get(consts.BINDING_PROFILE) or {})
        for key in ('pci_vendor_info', 'pci_slot'):
            profile.pop(key, None)
        self._admin.update_port(port['id'], {'port': {
            'device_id': '', 'device_owner': '',
            consts.BINDING_HOST_ID: '', consts.BINDING_PROFILE: profile}})


def _preserve(record: Any) -> dict[str, bool]:
    """Return, by ID of each recorded port, True if it is the user's."""
    return {addr['port']: bool(addr['preserve_on_delete'])
            for addrs in (record.addresses or {}).values() for addr in addrs}
