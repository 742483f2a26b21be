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

"""The embedded runtime's configuration file for the shim.

``prepare()`` writes it from oslo.config; containerd passes its path to the
shim (``ConfigPath`` of the handler). This module needs only the standard
library, because a shim starts for every pod and must start fast.
"""

import dataclasses
import json
import os
from typing import Self

from kata_openstack.runtime.embedded.common import protocol
from kata_openstack.runtime import json_file
from kata_openstack import stored

# Files in the folder embedded of [DEFAULT] state_path: the settings, and those
# of a newer guest that only the canary uses
FILE = 'embedded.json'
CANDIDATE = 'candidate.json'
# An annotation of a sandbox: 'candidate' chooses those settings.
GUEST = 'kata-openstack.io/guest'
ENVIRONMENT = 'KATA_EMBEDDED_CONFIG'
DEFAULT_PATH = '/etc/kata-openstack/embedded.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The shim's settings. ``image_key`` identifies kernel and initrd."""

    accelerator: str  # 'kvm' or 'tcg'
    run_path: str
    state_path: str
    qemu: str
    virtiofsd: str
    virtiofsd_options: list[str] = dataclasses.field(default_factory=list)
    kernel: str
    initrd: str
    kernel_release: str
    image_key: str
    default_memory_mib: int = 256
    default_vcpus: int = 1
    max_memory_mib: int
    # size of the tmpfs for the RAM of VMs and templates, 0 in a file of a
    # release that had none; and the part of it that templates may use
    memory_mib: int = 0
    template_memory_mib: int = 0
    max_vcpus: int
    guest_overhead_mib: int
    first_uid: int
    uids: int
    # as QEMU names them
    hidden_cpu_features: list[str] = dataclasses.field(default_factory=list)
    debug: bool = False
    protocol: int = 1  # protocol.VERSION of the agent in the image

    @classmethod
    def load(cls, path: str) -> Self:
        """Read a configuration file.

        :raises OSError: it cannot be read.
        :raises ValueError: it is no JSON, or its fields are wrong.
        """
        with open(path) as file:
            return stored.load(cls, json.load(file))

    def save(self, path: str, *, durable: bool = True) -> None:
        """:raises OSError:"""
        json_file.replace(path, dataclasses.asdict(self), durable=durable,
                          mode=0o644)

    @property
    def outdated(self) -> bool:
        """Whether another release prepared the node: no VM can start.

        The clean-up after a sandbox of that release needs them all the same.
        """
        return self.protocol != protocol.VERSION or not self.memory_mib

    @property
    def memory_path(self) -> str:
        """The mount point of the tmpfs for the RAM of VMs."""
        return f'{self.run_path}/memory'

    def sandbox_path(self, sandbox: str) -> str:
        """Return the folder of a sandbox's state, share and logs."""
        return f'{self.run_path}/{sandbox}'


def locate(from_containerd: str = '') -> str:
    return (from_containerd or os.environ.get(ENVIRONMENT, '')
            or DEFAULT_PATH)
