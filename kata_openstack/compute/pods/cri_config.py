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

"""A pod request in CRI's words. Pure: nothing is asked, nothing is kept.

What a tenant wrote ends in typed fields of CRI. Annotations and labels are
ours alone, so nobody can hand one to the runtime (io.katacontainers.*).
"""

import ipaddress
import json
import re

from oslo_utils import uuidutils

from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import node

CPU_PERIOD = 100000  # microseconds; the kernel's default
# The kernel refuses a smaller CPU quota than a millisecond in a period.
_MIN_CPUS = 0.01
# Docker's smallest; the kernel kills any process below that.
_MIN_MEMORY_MIB = 6
_HOSTNAME = re.compile(r'(?!-)[A-Za-z0-9-]{1,63}(?<!-)'
                       r'(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*')


def _invalid(field: str, value: object, why: str,
             remedy: str) -> exception.InvalidInput:
    return exception.InvalidInput(field=field, value=str(value)[:64], why=why,
                                  remedy=remedy)


def check(pod: objects.Pod) -> None:
    """:raises InvalidInput: for what the types cannot rule out"""
    for field, uuid in [('pod.uuid', pod.uuid)] + [
            ('container.uuid', c.uuid) for c in pod.containers]:
        # these become file names
        if not uuidutils.is_uuid_like(uuid) or len(uuid) != 36:
            raise _invalid(field, uuid, 'it is no UUID', 'Give a UUID.')
    if pod.kind not in ('container', 'capsule'):
        raise _invalid('pod.kind', pod.kind, 'it is unknown',
                       'Use container or capsule.')
    if not pod.containers:
        raise _invalid('pod.containers', '[]', 'a pod needs a container',
                       'Give at least one.')
    hostname = pod.hostname
    if hostname and (len(hostname) > 63 or not _HOSTNAME.fullmatch(hostname)):
        raise _invalid('hostname', hostname, 'it is no host name',
                       'Use letters, digits, hyphens and dots, at most 63.')
    for server in pod.nameservers:
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise _invalid('nameserver', server, 'it is no IP address',
                           "Correct the subnet's DNS servers.") from None
    for container in pod.containers:
        _check_container(container)


def _check_container(container: objects.Container) -> None:
    for name in container.environment:
        if not name or '=' in name:
            raise _invalid('environment', name, 'it is no variable name',
                           'Give NAME=VALUE.')
    if container.cpus is not None and container.cpus < _MIN_CPUS:
        raise _invalid('cpu', container.cpus, 'it is too small',
                       f'Give at least {_MIN_CPUS}.')
    if (container.memory_mib is not None
            and container.memory_mib < _MIN_MEMORY_MIB):
        raise _invalid('memory', f'{container.memory_mib} MiB',
                       'it is too small',
                       f'Give at least {_MIN_MEMORY_MIB} MiB.')
    if container.workdir and not container.workdir.startswith('/'):
        raise _invalid('workdir', container.workdir,
                       'it is not an absolute path', 'Use an absolute path.')


def memory_mib(pod: objects.Pod) -> int:
    """What the pod's containers asked for in all, in MiB."""
    return sum(c.memory_mib or 0 for c in pod.containers)


def _resources(cpus: float, memory: int) -> pb.LinuxContainerResources:
    """:param memory: MiB; 0, as for cpus, is without limit"""
    return pb.LinuxContainerResources(
        cpu_period=CPU_PERIOD if cpus else 0,
        cpu_quota=round(cpus * CPU_PERIOD),
        memory_limit_in_bytes=memory * 1024 * 1024)


def _namespaces() -> pb.NamespaceOption:
    # As Docker and Kubernetes do: containers of a pod share its network
    # and IPC, but each has its own process tree.
    return pb.NamespaceOption(network=pb.POD, ipc=pb.POD, pid=pb.CONTAINER)


def _labels(pod: objects.Pod, handler: str) -> dict[str, str]:
    return {labels.POD: pod.uuid, labels.KIND: pod.kind,
            labels.PROJECT: pod.project_id, labels.USER: pod.user_id,
            labels.HANDLER: handler}


def sandbox_config(pod: objects.Pod, choice: node.Choice,
                   log_directory: str, attempt: int) -> pb.PodSandboxConfig:
    """:param attempt: tells the sandboxes of one pod apart"""
    hostname = pod.hostname or pod.uuid[:12].rstrip('-')
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name=pod.uuid, uid=pod.uuid, namespace='kata-openstack',
            attempt=attempt),
        hostname=hostname,
        log_directory=log_directory,
        dns_config=pb.DNSConfig(servers=pod.nameservers)
        if pod.nameservers else None,
        labels=_labels(pod, choice.handler),
        annotations={
            labels.VIFS: json.dumps([v.to_dict() for v in pod.vifs]),
            labels.HANDLER_REASON: choice.reason,
            labels.ACCELERATOR: choice.accelerator,
            labels.HOSTNAME: hostname},
        linux=pb.LinuxPodSandboxConfig(
            # Upstream's shims and ours size the VM by these: containerd
            # hands them on as io.kubernetes.cri.sandbox-* annotations.
            resources=_resources(sum(c.cpus or 0 for c in pod.containers),
                                 memory_mib(pod)),
            overhead=_resources(choice.overhead_cpus, choice.overhead_mib),
            security_context=pb.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(),
                privileged=pod.privileged,
                seccomp=pb.SecurityProfile())))


def container_config(pod: objects.Pod, container: objects.Container,
                     image_id: str, handler: str,
                     attempt: int) -> pb.ContainerConfig:
    """:param image_id: what to run; its digest, so that no tag can move

    SecurityProfile() is containerd's default seccomp profile; capabilities
    unset are containerd's default ones, which are Docker's.
    """
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=container.uuid, attempt=attempt),
        image=pb.ImageSpec(image=image_id),
        command=container.entrypoint,
        args=container.command,
        working_dir=container.workdir or '',
        envs=[pb.KeyValue(key=key, value=value)
              for key, value in container.environment.items()],
        labels={**_labels(pod, handler), labels.CONTAINER: container.uuid},
        annotations={labels.NAME: container.name,
                     labels.IMAGE: container.image,
                     labels.MEMORY_MIB: str(container.memory_mib or 0)},
        log_path=log_name(container.uuid),
        stdin=container.stdin,
        tty=container.tty,
        linux=pb.LinuxContainerConfig(
            resources=_resources(container.cpus or 0,
                                 container.memory_mib or 0),
            security_context=pb.LinuxContainerSecurityContext(
                namespace_options=_namespaces(),
                privileged=pod.privileged,
                seccomp=pb.SecurityProfile())))


def log_name(container_uuid: str) -> str:
    """The log's file name, under the folder of its pod."""
    return f'{container_uuid}.log'
