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
"""One canary: a sandbox that is removed once its container has spoken.

It is in the host's network namespace as far as containerd is concerned, so
CNI is not asked; a shim then gives the VM no interface (upstream Kata: one
without any device in it). Its size is a small pod's: without one, upstream
would give it the default size, which a small node need not have.
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
        failures: int = 0, *, image_name: str | None = None,
        logs: pathlib.Path) -> records.Record:
    """Start a sandbox, run our image's container in it, remove both.

    :param failures: how often it failed in a row before.
    :param image_name: of :mod:`.image`, which containerd has; None runs no
        container.
    :param logs: a folder for the container's log, removed afterwards.
    :raises ContainerdUnavailable: which tells nothing about the handler.
    """
    config = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name=f'canary-{handler}', uid=str(uuid.uuid4()),
            namespace='kata-openstack'),
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
    """:returns: seconds until it had done its work, or until the error"""
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
    # pods could not be deleted either
    return seconds, error or (stuck and f'it cannot be removed: {stuck}')


def _guarded(work: Callable[[], Any]) -> tuple[str, Any]:
    """:returns: its error, or its answer"""
    try:
        return '', work()
    except exception.ContainerdUnavailable:
        raise
    except exception.KataError as e:
        return str(e), None
