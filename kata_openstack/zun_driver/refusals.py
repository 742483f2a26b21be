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

"""Operations of Zun that are not offered, each with its own words.

A method here is removed when the operation is built.
"""

from kata_openstack.zun_driver import errors

_refuse = errors.refuse


class Refusals:
    """Must come before Zun's ContainerDriver in the order of bases."""

    pause = _refuse(
        'pausing a container yet', 'Stop it: openstack appcontainer stop.')
    unpause = _refuse(
        'pausing a container yet', 'Start it: openstack appcontainer start.')
    get_websocket_url = _refuse(
        'attaching to a container yet',
        'Read its output: openstack appcontainer logs.')
    resize = _refuse(
        'resizing the terminal of a container yet',
        'Use openstack appcontainer logs and exec without a terminal.')
    execute_resize = _refuse(
        'interactive commands yet',
        'Run the command without --interactive.')
    top = _refuse(
        'listing the processes of a container yet',
        'Use openstack appcontainer exec with the program ps, if the image '
        'holds it.')
    get_archive = _refuse(
        'copying files out of a container yet',
        'Use openstack appcontainer exec with the program cat.')
    put_archive = _refuse(
        'copying files into a container yet',
        'Put them into the image.')
    update = _refuse(
        'changing the resources of a container yet',
        'Create a new one with the right --cpu and --memory.')
    # An update asks for this first; a later refusal would be hidden by a
    # TypeError in Zun's compute_node_tracker.py.
    get_cpu_allocation_ratio = update
    network_attach = _refuse(
        'attaching a network to a container that exists yet',
        'Create it with each network: openstack appcontainer create --net, '
        'once for each.')
    network_detach = _refuse(
        'detaching a network from a container yet',
        'Create a new one with the right --net.')
    create_network = _refuse(
        'networks of its own',
        'Use Neutron networks directly: openstack appcontainer create --net.')
    delete_network = _refuse(
        'networks of its own',
        'Delete the Neutron network: openstack network delete.')
    commit = _refuse(
        'making an image of a container yet',
        'Build the image elsewhere and push it to a registry.')
    # Zun calls this one first when a container is committed
    create_image = commit
    upload_image_data = commit
    delete_committed_image = commit
    get_image = commit
