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

"""Translates a pod request to CRI messages, without side effects.

Values of a tenant go only into typed fields of CRI. All annotations and
labels are ours, so tenants cannot pass io.katacontainers.* to the runtime.
"""

from collections.abc import Sequence
import ipaddress
import json
import re
from typing import Any

from oslo_utils import units

from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import node

CPU_PERIOD = 100000  # microseconds; the kernel's default
# The kernel refuses a CPU quota of less than 1 ms per period.
_MIN_CPUS = 0.01
# Docker's minimum; with less memory the kernel kills every process.
_MIN_MEMORY_MIB = 6
_HOSTNAME = re.compile(r'(?!-)[A-Za-z0-9-]{1,63}(?<!-)'
                       r'(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*')


def _invalid(field: str, value: object, why: str,
             remedy: str) -> exception.InvalidInput:
    return exception.InvalidInput(field=field, value=str(value)[:64], why=why,
                                  remedy=remedy)


def check(pod: objects.Pod) -> None:
    """Check the values that their types do not restrict enough.

    :raises InvalidInput:
    """
    if not pod.containers:
        raise _invalid('pod.containers', '[]', 'a pod needs a container',
                       'Add at least one container.')
    name = pod.hostname
    if name and (len(name) > 63 or not _HOSTNAME.fullmatch(name)):
        raise _invalid('hostname', name, 'not a valid host name',
                       'Use at most 63 letters, digits, hyphens and dots; '
                       'each part between dots must begin and end with a '
                       'letter or a digit.')
    for server in pod.nameservers:
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise _invalid('nameserver', server, 'not an IP address',
                           'Correct the DNS servers of the subnet in '
                           'Neutron.') from None
    for container in pod.containers:
        _check_container(container)


def _check_container(container: objects.Container) -> None:
    for name in container.environment:
        if not name or '=' in name:
            raise _invalid('environment', name, 'not a variable name',
                           "Use a name that is not empty and has no '='.")
    check_resources(container.cpus, container.memory_mib)
    if container.workdir and not container.workdir.startswith('/'):
        raise _invalid('workdir', container.workdir,
                       'not an absolute path', 'Use an absolute path.')


def check_resources(processors: float | None, memory: int | None) -> None:
    """Check limits; None means that there is none.

    :param memory: MiB
    :raises InvalidInput:
    """
    # "not" also catches NaN
    if processors is not None and not processors >= _MIN_CPUS:
        raise _invalid('cpu', processors, 'too small',
                       f'Use at least {_MIN_CPUS} CPUs.')
    if memory is not None and memory < _MIN_MEMORY_MIB:
        raise _invalid('memory', f'{memory} MiB', 'too small',
                       f'Use at least {_MIN_MEMORY_MIB} MiB.')


def memory_mib(pod: objects.Pod) -> int:
    """Return the memory that the pod's containers need together, in MiB."""
    return _together([(c.init, c.memory_mib or 0) for c in pod.containers])


def cpus(pod: objects.Pod) -> float:
    """Return the CPUs that the pod's containers need together."""
    return _together([(c.init, c.cpus or 0) for c in pod.containers])


def _together(amounts: Sequence[tuple[bool, Any]]) -> Any:
    """Return what a pod needs at most.

    As in Kubernetes, each init container runs alone, before the others.

    :param amounts: of each container, whether it is an init container,
        and how much it needs
    """
    return max([sum(amount for init, amount in amounts if not init),
                *(amount for _, amount in amounts)])


def resources(processors: float, memory: int) -> pb.LinuxContainerResources:
    """:param memory: MiB; for both, 0 means no limit"""
    return pb.LinuxContainerResources(
        cpu_period=CPU_PERIOD if processors else 0,
        cpu_quota=round(processors * CPU_PERIOD),
        memory_limit_in_bytes=memory * units.Mi)


def _health(container: objects.Container) -> str:
    if container.health is None:
        return ''
    return json.dumps(container.health.to_dict())


def _namespaces() -> pb.NamespaceOption:
    # As in Docker and Kubernetes, containers of a pod share its network
    # and IPC, but each has its own process tree.
    return pb.NamespaceOption(network=pb.POD, ipc=pb.POD, pid=pb.CONTAINER)


def _labels(pod: objects.Pod, handler: str) -> dict[str, str]:
    return {labels.POD: pod.uuid, labels.KIND: pod.kind,
            labels.PROJECT: pod.project_id, labels.USER: pod.user_id,
            labels.HANDLER: handler}


def hostname(pod: objects.Pod) -> str:
    return pod.hostname or pod.uuid[:12].rstrip('-')


def _dns(pod: objects.Pod) -> pb.DNSConfig:
    """Return the content of /etc/resolv.conf.

    containerd gives the pod a copy of the node's file if this has no content.
    So without servers it has an option with its default value; then a
    container resolves only the names of its hosts file.
    """
    return pb.DNSConfig(
        servers=pod.nameservers, searches=pod.search_domains,
        options=[] if pod.nameservers else ['ndots:1'])


def sandbox_config(pod: objects.Pod, choice: node.Choice,
                   log_directory: str, attempt: int) -> pb.PodSandboxConfig:
    """:param attempt: distinguishes the sandboxes of one pod"""
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name=pod.uuid, uid=pod.uuid, namespace='kata-openstack',
            attempt=attempt),
        hostname=hostname(pod),
        log_directory=log_directory,
        dns_config=_dns(pod),
        labels=_labels(pod, choice.handler),
        annotations={
            labels.VIFS: json.dumps([v.to_dict() for v in pod.vifs]),
            labels.HANDLER_REASON: choice.reason,
            labels.ACCELERATOR: choice.accelerator,
            labels.HOSTNAME: hostname(pod),
            labels.COST_MIB: str(choice.cost_mib),
            labels.VM_MIB: str(choice.cost_mib - choice.overhead_mib),
            labels.ASKED_MIB: str(memory_mib(pod))},
        linux=pb.LinuxPodSandboxConfig(
            # Upstream's shims and ours size the VM by these: containerd
            # passes them on as io.kubernetes.cri.sandbox-* annotations.
            resources=resources(cpus(pod), memory_mib(pod)),
            overhead=resources(choice.overhead_cpus, choice.overhead_mib),
            security_context=pb.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(),
                privileged=pod.privileged,
                seccomp=pb.SecurityProfile())))


def container_config(pod: objects.Pod, container: objects.Container,
                     image_id: str, handler: str, attempt: int,
                     hosts: str) -> pb.ContainerConfig:
    """Return CRI's configuration of a container.

    SecurityProfile() selects containerd's default seccomp profile. Unset
    capabilities are containerd's defaults, which are Docker's.

    :param image_id: the image's digest, which does not move as a tag does
    :param hosts: path of the pod's hosts file. Without such a mount,
        containerd gives the container a copy of the node's.
    """
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=container.uuid, attempt=attempt),
        image=pb.ImageSpec(image=image_id),
        command=container.entrypoint,
        args=container.command,
        working_dir=container.workdir or '',
        mounts=[pb.Mount(container_path='/etc/hosts', host_path=hosts)],
        envs=[pb.KeyValue(key=key, value=value)
              for key, value in container.environment.items()],
        labels={**_labels(pod, handler), labels.CONTAINER: container.uuid},
        annotations={labels.NAME: container.name,
                     labels.IMAGE: container.image,
                     labels.MEMORY_MIB: str(container.memory_mib or 0),
                     labels.DISK_GIB: str(container.disk_gib or 0),
                     labels.HEALTH: _health(container),
                     labels.RESTART: container.restart,
                     labels.INIT: 'yes' if container.init else ''},
        log_path=log_name(container.uuid),
        stdin=container.stdin,
        tty=container.tty,
        linux=pb.LinuxContainerConfig(
            resources=resources(container.cpus or 0,
                                container.memory_mib or 0),
            security_context=pb.LinuxContainerSecurityContext(
                namespace_options=_namespaces(),
                privileged=pod.privileged,
                seccomp=pb.SecurityProfile())))


def log_name(container_uuid: str) -> str:
    """Return the name of the log's file, in the folder of its pod."""
    return f'{container_uuid}.log'
