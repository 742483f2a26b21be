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

"""The container of a canary sandbox, which checks that it is in a VM."""

import pathlib
import signal
import time

from kata_openstack.runtime.canary import machine_code
from kata_openstack.runtime.canary import records
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

# Seconds until the program, which only reads and writes one line, must have
# ended. Long enough for the slowest guests.
_LIMIT = 60.0
_LOG = 'canary.log'


def run(client: cri.CriClient, sandbox_id: str, config: pb.PodSandboxConfig,
        image_name: str) -> str:
    """Run the program of :mod:`.machine_code` and check its output.

    :param config: the sandbox's configuration, with a ``log_directory``
    :returns: the problem of the handler, or ''
    :raises ContainerdUnavailable, RuntimeFailed, NotFound:
    """
    security = config.linux.security_context
    container = client.create_container(sandbox_id, pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name='canary'),
        image=pb.ImageSpec(image=image_name), log_path=_LOG,
        labels=config.labels,
        linux=pb.LinuxContainerConfig(
            resources=config.linux.resources,
            security_context=pb.LinuxContainerSecurityContext(
                namespace_options=security.namespace_options,
                seccomp=security.seccomp))), config)
    client.start_container(container)
    code = _wait(client, container)
    if code is None:
        return f'its container did not end within {_LIMIT:g} s'
    words = _words(pathlib.Path(config.log_directory, _LOG))
    if code == machine_code.STALE:
        return ('its container ran code of another program: the hypervisor '
                'does not notice that a file was read into memory that held '
                'code before')
    if code > 128:
        return f'its container was killed by {_signal(code - 128)}'
    if code or not words:
        return (f'its container ended with exit code {code} and did not '
                'tell the boot id of its kernel')
    if words[-1] == records.boot_id():
        return 'its container runs on the kernel of this host, not in a VM'
    return ''


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'


def _wait(client: cri.CriClient, container: str) -> int | None:
    end = time.monotonic() + _LIMIT
    while time.monotonic() < end:
        status = client.container_status(container).status
        if status.state == pb.CONTAINER_EXITED:
            return status.exit_code
        time.sleep(0.02)
    return None


def _words(log: pathlib.Path) -> list[str]:
    """Return the words that the canary's program wrote; [] if none.

    The log has one line in CRI's format: time, stream, tag, words.
    """
    try:
        return log.read_text(errors='replace').split()[3:]
    except FileNotFoundError:
        return []
