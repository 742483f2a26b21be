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

"""The request that made a pod, as containerd has kept it."""

import json
from typing import Any

from google.protobuf import json_format

from kata_openstack.compute.pods import cri_config
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import view
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb


def read(client: cri.CriClient, found: view.PodView) -> objects.Pod:
    """Return the pod with all of its current containers.

    :raises NotFound, ContainerdUnavailable, RuntimeFailed: also if containerd
        does not tell the configurations
    """
    sandbox = found.sandbox
    config = pb.PodSandboxConfig()
    _parse(client.sandbox_info(sandbox.id), config, sandbox.id)
    vifs = view.vifs(sandbox)
    if not vifs.complete:
        raise exception.RuntimeFailed(
            operation='Reading a pod', why='another release has written its '
            'network interfaces')
    return objects.Pod(
        uuid=found.uuid, kind=sandbox.labels.get(labels.KIND, 'capsule'),
        project_id=sandbox.labels.get(labels.PROJECT, ''),
        user_id=sandbox.labels.get(labels.USER, ''),
        containers=[_container(client, container)
                    for container in found.current_containers()],
        hostname=sandbox.annotations.get(labels.HOSTNAME) or None,
        runtime=sandbox.runtime_handler,
        privileged=config.linux.security_context.privileged,
        nameservers=list(config.dns_config.servers),
        search_domains=list(config.dns_config.searches),
        vifs=vifs.readable)


def _container(client: cri.CriClient, container: pb.Container
               ) -> objects.Container:
    config = pb.ContainerConfig()
    _parse(client.container_info(container.id), config, container.id)
    notes = container.annotations
    health = notes.get(labels.HEALTH)
    limits = config.linux.resources
    return objects.Container.from_dict({
        'uuid': container.labels[labels.CONTAINER],
        'name': notes.get(labels.NAME, ''),
        'image': notes.get(labels.IMAGE, ''),
        'entrypoint': list(config.command) or None,
        'command': list(config.args) or None,
        'workdir': config.working_dir or None,
        'environment': {env.key: env.value for env in config.envs},
        'cpus': (limits.cpu_quota / cri_config.CPU_PERIOD
                 if limits.cpu_quota > 0 else None),
        'memory_mib': labels.number(notes, labels.MEMORY_MIB) or None,
        'disk_gib': labels.number(notes, labels.DISK_GIB) or None,
        'tty': config.tty, 'stdin': config.stdin,
        'health': json.loads(health) if health else None,
        'restart': notes.get(labels.RESTART, ''),
        'init': bool(notes.get(labels.INIT))})


def _parse(info: dict[str, Any], into: Any, ident: str) -> None:
    """Read the configuration in the information that is for debugging."""
    config = info.get('config')
    try:
        if not config:
            raise ValueError('containerd does not tell it')
        json_format.ParseDict(config, into, ignore_unknown_fields=True)
    except (ValueError, json_format.ParseError) as e:
        raise exception.RuntimeFailed(
            operation='Reading the configuration', why=f'{ident}: {e}'
        ) from e
