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
"""Runs one canary: a sandbox with one container, removed after its end.

The sandbox asks for the host's network namespace, so that containerd does
not call CNI. An annotation tells our shim that this VM has no network
(upstream Kata uses a network namespace without devices). The sandbox has the
size of a small pod: without a size, upstream uses its default, which a small
node may not have.
"""

from collections.abc import Callable
import hashlib
import json
import logging
import pathlib
import shutil
import time
from typing import Any
import uuid

from kata_openstack import exception
from kata_openstack.runtime.canary import container
from kata_openstack.runtime.canary import records
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)

LABEL = 'kata-openstack.io/canary'
NETWORK = 'kata-openstack.io/network'  # see embedded/shim/oci/refusals.py
GUEST = 'kata-openstack.io/guest'  # see embedded/common/settings.py
_PERIOD = 100000  # microseconds; the quota is the same: one CPU
# With [embedded] guest_overhead_mib this is default_memory_mib (256 MiB), the
# size for which the embedded runtime has a template.
_MEMORY = 160 * 1024 * 1024


def keys(client: cri.CriClient) -> dict[str, str]:
    """Return the key of the canary for each handler of containerd.

    The key is a digest of what a result depends on: the handler's section,
    the sandbox image, containerd's version, and the size and time of the
    shim, its configuration and the drop-ins.
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
    """Return name, size and time of the existing files in the section."""
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
    """Remove canary sandboxes of an earlier process or a failed canary.

    :raises ContainerdUnavailable:
    """
    for sandbox in client.list_pod_sandboxes():
        if LABEL not in sandbox.labels:
            continue
        try:
            _remove(client, sandbox.id)
        except (exception.RuntimeFailed, exception.NotFound) as e:
            LOG.warning('Cannot remove canary sandbox %s: %s', sandbox.id, e)


def _remove(client: cri.CriClient, sandbox_id: str) -> None:
    client.stop_pod_sandbox(sandbox_id)
    client.remove_pod_sandbox(sandbox_id)


def run(client: cri.CriClient, handler: str, key: str,
        failures: int = 0, *, image_name: str | None = None,
        logs: pathlib.Path, guest: str = '') -> records.Record:
    """Start a sandbox, run the canary's container in it, remove both.

    :param failures: the number of failures in a row before this run.
    :param image_name: the name of :mod:`.own_image`, which containerd has;
        None runs no container.
    :param logs: a folder for the container's log; removed at the end.
    :param guest: 'candidate' for the guest that an update has built.
    :raises ContainerdUnavailable: it says nothing about the handler.
    """
    config = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name=f'canary-{handler}', uid=str(uuid.uuid4()),
            namespace='kata-openstack'),
        annotations={NETWORK: 'none', **({GUEST: guest} if guest else {})},
        labels={LABEL: handler}, log_directory=str(logs),
        linux=pb.LinuxPodSandboxConfig(
            resources=pb.LinuxContainerResources(
                cpu_period=_PERIOD, cpu_quota=_PERIOD,
                memory_limit_in_bytes=_MEMORY),
            security_context=pb.LinuxSandboxSecurityContext(
                namespace_options=pb.NamespaceOption(
                    network=pb.NODE, ipc=pb.POD, pid=pb.CONTAINER),
                seccomp=pb.SecurityProfile())))
    logs.mkdir(parents=True, exist_ok=True)
    try:
        seconds, error = _live(client, config, handler, image_name)
    finally:
        shutil.rmtree(logs, ignore_errors=True)
    return records.Record(
        key=key, passed=not error, at=time.time(), seconds=seconds,
        error=error, failures=failures + 1 if error else 0)


def _live(client: cri.CriClient, config: pb.PodSandboxConfig, handler: str,
          image_name: str | None) -> tuple[float, str]:
    """:returns: seconds until the container ended or failed, and the error"""
    begin = time.monotonic()
    error, sandbox = _guarded(
        lambda: client.run_pod_sandbox(config, handler))
    if error:
        return time.monotonic() - begin, error
    if image_name:
        error, verdict = _guarded(lambda: container.run(
            client, sandbox, config, image_name))
        error = error or verdict
    seconds = time.monotonic() - begin
    stuck, _ = _guarded(lambda: _remove(client, sandbox))
    # a failed removal counts: pods could not be deleted either
    return seconds, error or (stuck and f'it cannot be removed: {stuck}')


def _guarded(work: Callable[[], Any]) -> tuple[str, Any]:
    """:returns: the error, or '', and the answer"""
    try:
        return '', work()
    except exception.ContainerdUnavailable:
        raise
    except exception.KataError as e:
        return str(e), None
