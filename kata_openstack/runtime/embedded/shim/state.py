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

"""A sandbox's state file, ``<run>/<sandbox>/state.json``.

It names the processes and files that the clean-up must remove. It also
tells how a sandbox runs (accelerator, size, kernel).
"""

import dataclasses
import json
from typing import Self

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime import json_file
from kata_openstack import stored


@dataclasses.dataclass(kw_only=True)
class State:
    """The state. A pid of 0 means: not started.

    ``virtiofsd_live`` serves the live share.
    ``cpus`` is the limit of all processes together on the host.
    ``kernel`` is the release of the guest's kernel, '' before it is up.
    ``image_key`` is that of the settings, '' from an older release.
    """

    sandbox: str
    namespace: str
    folder: str
    socket: str
    cgroup: str
    ram: str
    uid: int = 0
    accelerator: str
    memory_mib: int
    vcpus: int
    cpus: float = 0.0
    shim: int = 0
    qemu: int = 0
    virtiofsd: int = 0
    virtiofsd_live: int = 0
    kernel: str = ''
    image_key: str = ''

    def save(self) -> None:
        """Not durable: the VM does not survive a crash of the host."""
        json_file.replace(f'{self.folder}/state.json',
                          dataclasses.asdict(self))

    @classmethod
    def load(cls, config: settings.Settings, sandbox: str) -> Self | None:
        """Return a sandbox's state, None if it is missing or damaged."""
        try:
            with open(f'{config.sandbox_path(sandbox)}/state.json') as file:
                return stored.load(cls, json.load(file))
        except (OSError, ValueError):
            return None
