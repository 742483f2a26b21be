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
"""One canary: an empty sandbox that is removed as soon as it runs.

It is in the host's network namespace as far as containerd is concerned, so
CNI is not asked; a shim then gives the VM no interface (upstream Kata: one
without any device in it). The image is containerd's own sandbox image, which
every pod needs. Its size is a small pod's: without one, upstream would give
it the default size, which a small node need not have.
"""

import hashlib
import json
import logging
import pathlib
import time
from typing import Any
import uuid

from kata_openstack import exception
from kata_openstack.runtime.canary import records
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)

LABEL = 'kata-openstack.io/canary'
_PERIOD = 100000  # microseconds, and as much quota: one CPU
# with the embedded runtime's overhead, its default size, which is there
_MEMORY = 160 * 1024 * 1024


def keys(client: cri.CriClient) -> dict[str, str]:
    """By handler of containerd, a digest of what a canary's result rests on.

    That is the handler's section, the sandbox image, containerd's version,
    and size and time of the shim and its configuration with its drop-ins.
    """
    version = client.version().runtime_version
    config = json.loads(client.status(verbose=True).info.get('config')
                        or '{}')
    runtimes = (config.get('containerd') or {}).get('runtimes') or {}
    image = config.get('sandboxImage')
    return {name: _digest([version, image, section, _files(section or {})])
            for name, section in runtimes.items()}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _files(section: dict[str, Any]) -> list[list[Any]]:
    """Name, size and time of what the section names; without what is not
    there."""
    options = section.get('options') or {}
    named = [section.get('runtimePath'), section.get('runtimeType'),
             options.get('ConfigPath')]
    found = []
    for path in (pathlib.Path(n) for n in named
                 if n and str(n).startswith('/')):
        drop_ins = sorted((path.parent / 'config.d').glob('*.toml'))
        for file in (path, *drop_ins):
            try:
                stat = file.stat()
            except OSError:
                continue
            found.append([str(file), stat.st_size, stat.st_mtime_ns])
    return found


def sweep(client: cri.CriClient) -> None:
    """Remove what an earlier process, or a failure, has left.

    :raises ContainerdUnavailable:
    """
    for sandbox in client.list_pod_sandboxes():
        if LABEL not in sandbox.labels:
            continue
        try:
            _remove(client, sandbox.id)
        except (exception.RuntimeFailed, exception.NotFound) as e:
            LOG.warning('Canary sandbox %s is left: %s', sandbox.id, e)


def _remove(client: cri.CriClient, sandbox_id: str) -> None:
    client.stop_pod_sandbox(sandbox_id)
    client.remove_pod_sandbox(sandbox_id)


def run(client: cri.CriClient, handler: str, key: str,
        failures: int = 0) -> records.Record:
    """Start a sandbox and remove it.

    :param failures: how often it failed in a row before.
    :raises ContainerdUnavailable: which tells nothing about the handler.
    """
    uid = str(uuid.uuid4())
    config = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name=f'canary-{handler}', uid=uid, namespace='kata-openstack'),
        labels={LABEL: handler},
        linux=pb.LinuxPodSandboxConfig(
            resources=pb.LinuxContainerResources(
                cpu_period=_PERIOD, cpu_quota=_PERIOD,
                memory_limit_in_bytes=_MEMORY),
            security_context=pb.LinuxSandboxSecurityContext(
                namespace_options=pb.NamespaceOption(
                    network=pb.NODE, ipc=pb.POD, pid=pb.CONTAINER),
                seccomp=pb.SecurityProfile())))
    begin = time.monotonic()
    error = ''
    try:
        sandbox = client.run_pod_sandbox(config, handler)
    except exception.ContainerdUnavailable:
        raise
    except exception.KataError as e:
        error = str(e)
    seconds = time.monotonic() - begin
    if not error:
        try:
            _remove(client, sandbox)
        except exception.ContainerdUnavailable:
            raise
        except exception.KataError as e:
            # pods could not be deleted either
            error = f'it cannot be removed: {e}'
    return records.Record(
        key=key, passed=not error, at=time.time(), seconds=seconds,
        error=error, failures=failures + 1 if error else 0)
