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

"""Creates users, services and endpoints, and the demo project's network."""

import hashlib
import json
from typing import Any

import openstack

from tools.quickstart import databases
from tools.quickstart import settings

# name: (type, service of settings.PORTS, path below its URL)
CATALOG = {
    'placement': ('placement', ''),
    'glance': ('image', ''),
    'neutron': ('network', ''),
    'zun': ('container', '/v1'),
}

NETWORK = 'private'
CIDR = '10.77.0.0/24'


def connect(stack: settings.Stack, **changes: str) -> Any:
    """An openstacksdk connection as admin in the demo project.

    :param changes: ``OS_*`` variables that replace the defaults.
    """
    values = stack.cloud_environment() | changes
    return openstack.connect(
        load_envvars=False, load_yaml_config=False,
        app_name='kata-openstack-quickstart', auth_type='password',
        region_name=values['OS_REGION_NAME'],
        auth={'auth_url': values['OS_AUTH_URL'],
              'username': values['OS_USERNAME'],
              'password': values['OS_PASSWORD'],
              'project_name': values['OS_PROJECT_NAME'],
              'user_domain_id': values['OS_USER_DOMAIN_ID'],
              'project_domain_id': values['OS_PROJECT_DOMAIN_ID']})


def register(stack: settings.Stack) -> str | None:
    """Register users, services and endpoints in Keystone.

    Idempotent; repeated when a port or a password has changed.
    """
    wanted = hashlib.sha256(json.dumps(
        [CATALOG, stack.port_base, stack.passwords]).encode()).hexdigest()
    if databases.stamp(stack, 'identity', wanted):
        return None
    cloud = connect(stack, OS_PROJECT_NAME='admin')
    identity = cloud.identity
    roles = {role.name: role for role in identity.roles()}
    for name in ('service', 'member'):
        if name not in roles:
            roles[name] = identity.create_role(name=name)
    projects = {project.name: project for project in identity.projects()}
    for name in ('service', 'demo'):
        if name not in projects:
            projects[name] = identity.create_project(
                name=name, domain_id='default')
    users = {user.name: user for user in identity.users()}
    for role in ('admin', 'member'):
        identity.assign_project_role_to_user(
            projects['demo'], users['admin'], roles[role])
    services = {service.name: service for service in identity.services()}
    endpoints = {(endpoint.service_id, endpoint.interface): endpoint
                 for endpoint in identity.endpoints()}
    for name, (kind, path) in CATALOG.items():
        if name not in users:
            users[name] = identity.create_user(
                name=name, domain_id='default',
                default_project_id=projects['service'].id,
                password=stack.passwords[name])
        for role in ('admin', 'service'):
            identity.assign_project_role_to_user(
                projects['service'], users[name], roles[role])
        if name not in services:
            services[name] = identity.create_service(name=name, type=kind)
        _endpoints(identity, services[name].id, stack.url(name) + path,
                   endpoints)
    # keystone-manage bootstrap created Keystone's own endpoints, perhaps
    # with another port
    if 'keystone' in services:
        _endpoints(identity, services['keystone'].id,
                   f'{stack.url("keystone")}/v3', endpoints)
    databases.set_stamp(stack, 'identity', wanted)
    return 'registered users, services and endpoints'


def _endpoints(identity: Any, service_id: str, url: str,
               known: dict[tuple[str, str], Any]) -> None:
    for interface in ('public', 'internal', 'admin'):
        endpoint = known.get((service_id, interface))
        if endpoint is None:
            identity.create_endpoint(
                service_id=service_id, interface=interface, url=url,
                region_id='RegionOne')
        elif endpoint.url != url:
            identity.update_endpoint(endpoint, url=url)


def network(stack: settings.Stack) -> str | None:
    """Create the default network for containers of the demo project.

    It has no gateway, because this stack has no router. With a default route
    to a missing router, connections would time out instead of being refused.
    """
    if databases.stamp(stack, 'network', CIDR):
        return None
    cloud = connect(stack)
    found = cloud.network.find_network(
        NETWORK, project_id=cloud.current_project_id)
    if found is None:
        found = cloud.network.create_network(name=NETWORK)
    if not found.subnet_ids:
        cloud.network.create_subnet(
            name=NETWORK, network_id=found.id, ip_version=4, cidr=CIDR,
            gateway_ip=None, enable_dhcp=False)
    databases.set_stamp(stack, 'network', CIDR)
    return f'{NETWORK} {CIDR}'
