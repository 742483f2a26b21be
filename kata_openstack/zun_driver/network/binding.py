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

"""Check that a pod can use a port as Neutron has bound it.

Pure functions: they send no requests.
"""

from typing import Any

from kata_openstack import exception

_UNBOUND = ('', 'unbound', 'binding_failed')


def check(port: dict[str, Any], pod_uuid: str, host: str) -> None:
    """Refuse a port that would not work, or not be filtered, as asked for.

    :param port: a port as Neutron returns it, after its binding.
    :param host: of this service, if Neutron names none.
    :raises NetworkFailed, Unsupported:
    """
    network = port['network_id']
    if not port['fixed_ips']:
        raise exception.NetworkFailed(
            id=pod_uuid,
            why=f'network {network} has no subnet, so the port got no '
                'address',
            remedy='Add a subnet: openstack subnet create --network '
                   f'{network} --subnet-range <CIDR> <name>.')
    if port.get('binding:vif_type', '') in _UNBOUND:
        host = port.get('binding:host_id') or host
        raise exception.NetworkFailed(
            id=pod_uuid,
            why=f'Neutron could not bind port {port["id"]} on {host}',
            remedy='Check the network agent of that host: openstack '
                   f'network agent list --host {host}.')
    kind = port.get('binding:vnic_type') or 'normal'
    if kind != 'normal':
        raise exception.Unsupported(
            operation=f'ports of the VNIC type {kind}',
            remedy='Use a port that was created with: openstack port create '
                   '--vnic-type normal.')
    details = port.get('binding:vif_details') or {}
    # Only an explicit False: some mechanism drivers report nothing.
    if details.get('port_filter') is False and port.get('security_groups'):
        raise exception.NetworkFailed(
            id=pod_uuid,
            why=f'port {port["id"]} has security groups, but its Neutron '
                'mechanism driver does not enforce them (port_filter is '
                'false)',
            remedy='Set enable_security_group and a firewall_driver in the '
                   '[securitygroup] section of Neutron and of its agent, or '
                   'use a port without security groups: openstack port '
                   'create --no-security-group --disable-port-security.')
