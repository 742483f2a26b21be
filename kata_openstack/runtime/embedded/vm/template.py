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

"""Templates: VMs that are booted once, saved, and cloned for sandboxes.

A template is a RAM file on a tmpfs (sparse, some 90 MiB) and a small file
with the devices' state. There is a pair for each size class and
accelerator. The name has a hash of everything that the template was made
from, so a change of any of it leads to a new template.
"""

import hashlib
import os

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.vm import qemu
from kata_openstack.runtime.embedded.vm import size as sizes


class NotMade(Exception):
    """The template could not be made. The text says why."""


class Template:
    def __init__(self, config: settings.Settings, size: sizes.Size) -> None:
        self.config = config
        self.size = size
        program = os.stat(config.qemu)
        made_from = [config.image_key, config.qemu, program.st_size,
                     program.st_mtime_ns,
                     *qemu.base('', config.accelerator, size, 0, 0),
                     *qemu.boot(config.accelerator, '', '')]
        if config.accelerator == 'kvm':
            made_from.append(_processor())  # -cpu host
        key = hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]
        self.name = f'template-{size}-{key}'
        self.ram_path = f'{config.memory_path}/{self.name}.ram'
        self.state_path = f'{config.state_path}/{self.name}.state'

    def exists(self) -> bool:
        return (os.path.exists(self.ram_path)
                and os.path.exists(self.state_path))

    def remove_older(self) -> None:
        """Remove the outdated templates of this size."""
        for folder in (self.config.memory_path, self.config.state_path):
            for name in os.listdir(folder):
                if (name.startswith(f'template-{self.size}-')
                        and not name.startswith(self.name)):
                    os.unlink(f'{folder}/{name}')


def _processor() -> str:
    with open('/proc/cpuinfo') as file:
        return ''.join(line for line in file.read().split('\n\n')[0]
                       .splitlines()
                       if line.startswith(('model name', 'flags')))
