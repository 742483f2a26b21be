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

"""What the driver refuses, each with a remedy.

Remove an operation from here when the driver implements it.
"""

from typing import Any

from zun.common import exception as zun_exc

from kata_openstack import exception
from kata_openstack.zun_driver import errors

_refuse = errors.refuse


def refuse_uncreated(container: Any) -> None:
    if container.container_id is None:
        raise errors.make(
            zun_exc.Invalid,
            'The container was never created, or its creation failed. '
            'Delete the container and create it again.')


def _refuse_dedicated_cpus(record: Any) -> None:
    if record.cpu_policy == 'dedicated':
        raise exception.Unsupported(
            operation='dedicated CPUs',
            remedy='Create it with the CPU policy shared, which is the '
                   'default, and limit its CPUs with --cpu.')


def refuse_options(container: Any) -> None:
    """Refuse options that would otherwise be silently ignored.

    :raises Unsupported:
    """
    _refuse_dedicated_cpus(container)


def refuse_capsule_options(capsule: Any) -> None:
    """Like :func:`refuse_options`, for a capsule."""
    for record in (capsule, *(capsule.init_containers or ()),
                   *(capsule.containers or ())):
        _refuse_dedicated_cpus(record)


class Refusals:
    """A mixin; list it before Zun's ContainerDriver in the bases."""

    network_attach = _refuse(
        'attaching a network to an existing container',
        'Create a new container with one --net network=<network> for each '
        'network.')
    network_detach = _refuse(
        'detaching a network from a container',
        'Create a new container with one --net network=<network> for each '
        'network that it keeps.')
    create_network = _refuse(
        'container networks besides those of Neutron',
        'Name the Neutron network: openstack appcontainer create --net '
        'network=<network>.')
    delete_network = _refuse(
        'container networks besides those of Neutron',
        'Delete the Neutron network: openstack network delete.')
    commit = _refuse(
        'creating an image from a container',
        'Build the image from a Dockerfile on another machine and push it '
        'to a registry.')
    # Zun calls this one first when it commits a container.
    create_image = commit
    upload_image_data = commit
    delete_committed_image = commit
    get_image = commit
