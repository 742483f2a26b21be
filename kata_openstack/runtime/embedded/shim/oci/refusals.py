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

"""Refuses by name what an OCI config asks for and a VM cannot honour.

Dropped without an error is only what containerd or the kubelet adds by
itself and what means the host's kernel: AppArmor and SELinux labels, the OOM
score, a cpuset, and limits that are 0. And CRI's default for processes, one
namespace for all containers of a pod: each container has its own.

It must import nothing slow: each start of a sandbox uses it.
"""

from collections.abc import Iterable
import os
import stat
from typing import Any

from kata_openstack.runtime.embedded.shim.oci import grouping

# An annotation of a sandbox: 'none' gives its VM no network. Our canary uses
# it; for others, a pod without any network would be a surprise.
NETWORK = 'kata-openstack.io/network'

_TOP = ('domainname', 'hooks', 'solaris', 'vm', 'windows', 'zos')
_LINUX = ('devices', 'gidMappings', 'intelRdt', 'netDevices', 'personality',
          'timeOffsets', 'uidMappings')
_RESOURCES = ('blockIO', 'network', 'rdma', 'unified')
_PROCESS = ('execCPUAffinity', 'ioPriority', 'scheduler')
_PROPAGATION = ('rshared', 'rslave', 'shared', 'slave', 'runbindable',
                'unbindable')
_WORDS = {
    'blockIO': 'a limit or weight of block I/O',
    'devices': 'a device of the host',
    'domainname': 'a domain name',
    'hooks': 'OCI hooks',
    'uidMappings': 'a user namespace', 'gidMappings': 'a user namespace',
    'unified': 'settings of cgroup v2',
}


class Refused(Exception):
    """The config asks for something that a VM cannot honour."""


def _refuse(what: str, remedy: str = 'Leave it out') -> Refused:
    return Refused(f'kata-embedded does not support {what}. {remedy}, or use '
                   'another runtime')


def check_sandbox(config: dict[str, Any]) -> None:
    """Check the config that a VM is started for.

    :raises Refused:
    """
    linux = config.get('linux') or {}
    if (not _has_namespace(linux, 'network')
            and grouping.annotations(config).get(NETWORK) != 'none'):
        raise _refuse('the network of the host: a VM has its own',
                      'Do not ask for the host network')
    for name in linux.get('sysctl') or {}:
        # it becomes a path
        if '..' in name or not name.replace('_', '').replace(
                '.', '').replace('-', '').replace('/', '').isalnum():
            raise Refused(f'{name!r} is not the name of a sysctl')


def check(config: dict[str, Any]) -> None:
    """Check the config of a container or of a pod's sandbox.

    :raises Refused:
    """
    linux = config.get('linux') or {}
    _absent(config, _TOP)
    _absent(linux, _LINUX)
    _check_namespaces(linux)
    check_resources(linux.get('resources') or {})
    check_process(config.get('process') or {})
    for item in config.get('mounts') or ():
        _check_mount(item)


def check_process(process: dict[str, Any]) -> None:
    """:raises Refused:"""
    _absent(process, _PROCESS)


def check_resources(resources: dict[str, Any]) -> None:
    """:raises Refused:"""
    _absent(resources, _RESOURCES)
    # the kubelet sends a limit of 0 for each page size of the node
    if any(item.get('limit') for item in resources.get('hugepageLimits') or ()):
        raise _refuse('huge pages')


def check_root(mounts: Iterable[dict[str, Any]]) -> None:
    """Check how a snapshotter wants a root file system to be mounted.

    :param mounts: of the request, with type, source, target and options.
    :raises Refused:
    """
    for item in mounts:
        # containerd 2 mounts layers below others; nydus and erofs use
        # programs, which have names such as fuse.nydus
        if item['target'] or item['type'] and not item['type'].isalnum():
            raise _refuse(f'root file systems of the type {item["type"]!r}, '
                          f'mounted at {item["target"] or "/"!r}',
                          'Use the snapshotter overlayfs')


def check_size(resources: dict[str, Any], memory_mib: int, vcpus: int
               ) -> None:
    """Check that limits fit into the VM, which has a fixed size.

    :raises Refused:
    """
    limit = (resources.get('memory') or {}).get('limit') or 0
    if limit > memory_mib << 20:
        raise Refused(
            f'the memory limit of {limit >> 20} MiB is larger than the VM, '
            f'which has {memory_mib} MiB. Ask for the memory when the pod is '
            'created: the VM gets the size of the pod')
    cpu = resources.get('cpu') or {}
    quota, period = cpu.get('quota') or 0, cpu.get('period') or 100000
    if quota > vcpus * period:
        raise Refused(
            f'the limit of {quota / period:g} CPUs is larger than the VM, '
            f'which has {vcpus}. Ask for the CPUs when the pod is created: '
            'the VM gets the size of the pod')


def _absent(values: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if values.get(name):
            raise _refuse(_WORDS.get(name, f'"{name}" of an OCI config'))


def _has_namespace(linux: dict[str, Any], kind: str) -> bool:
    return any(item.get('type') == kind
               for item in linux.get('namespaces') or ())


def _check_namespaces(linux: dict[str, Any]) -> None:
    for kind, whose in (('pid', 'the processes of the host'),
                        ('ipc', 'the IPC objects of the host'),
                        ('mount', 'the mounts of the host')):
        if not _has_namespace(linux, kind):
            raise _refuse(whose)
    for item in linux.get('namespaces') or ():
        if item['type'] in ('user', 'time'):
            raise _refuse(f'a {item["type"]} namespace')


def _check_mount(item: dict[str, Any]) -> None:
    where = item.get('destination')
    options = set(item.get('options') or ())
    wrong = options & set(_PROPAGATION)
    if wrong:
        raise _refuse(f'the propagation {min(wrong)!r} of the mount {where}',
                      'Use a private mount')
    if item.get('uidMappings') or options & {'idmap', 'ridmap'}:
        raise _refuse(f'other owners (idmap) for the mount {where}')
    if is_bind(item):
        _check_source(item.get('source') or '', where)


def is_bind(item: dict[str, Any]) -> bool:
    return (item.get('type') == 'bind'
            or not {'bind', 'rbind'}.isdisjoint(item.get('options') or ()))


def _check_source(source: str, where: Any) -> None:
    try:
        mode = os.stat(source).st_mode
    except OSError:
        return  # the mount fails and says why
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        kind = ('a socket' if stat.S_ISSOCK(mode) else 'a pipe'
                if stat.S_ISFIFO(mode) else 'a device')
        raise _refuse(f'{kind} of the host, {source}, at {where}: the guest '
                      'has a kernel of its own', 'Mount a file or a folder')
