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

"""The needs that a pod can have, and how a request expresses them.

The driver derives needs from Zun's records; the node compares them with the
offers of the hypervisors. The functions are pure and take plain values, so
that both sides can use them.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
from typing import Any

from kata_openstack import exception

# Every need, with a description for messages.
NEEDS = {
    'block-rootfs': 'a root file system on a block device',
    'block-volume': 'volumes as block devices of the guest',
    'confidential': 'memory that the host cannot read',
    'cpu-hotplug': 'adding CPUs to a running pod',
    'gpu': 'a GPU passed through, with its driver in the guest',
    'guest-pull': 'images pulled inside the guest',
    'memory-hotplug': 'adding memory to a running pod',
    'nydus': 'images that are loaded lazily',
    'privileged': 'privileged containers, as root of the guest only',
    'resize': 'changing CPU and memory of a running pod',
    'se': 'IBM Secure Execution',
    'sev-snp': 'AMD SEV-SNP',
    'shared-fs': 'sharing host folders with the guest',
    'tdx': 'Intel TDX',
    'vfio': 'PCI devices passed through',
    'vm-template': 'starting from a template',
}

# Levels of isolation, the weakest first. ``none``: a virtual machine that is
# emulated, or whose isolation this host cannot judge. ``hardware``: the CPU
# separates guest and host. ``confidential``: the CPU also keeps the host from
# reading the guest's memory.
ISOLATION = ('none', 'hardware', 'confidential')

# Annotations of a capsule, and labels of an image from a registry. Only these
# are read, so tenants cannot pass io.katacontainers.*.
ANNOTATION_NEEDS = 'kata-openstack.io/needs'
ANNOTATION_ISOLATION = 'kata-openstack.io/isolation'

# Properties of an image in Glance. hw_mem_encryption is Nova's own.
PROPERTY_NEEDS = 'kata_needs'
PROPERTY_ISOLATION = 'kata_isolation'
PROPERTY_ENCRYPTION = 'hw_mem_encryption'

PROPERTIES = (PROPERTY_NEEDS, PROPERTY_ISOLATION, PROPERTY_ENCRYPTION)

# The labels and properties of an image that express needs or isolation.
IMAGE_KEYS = (ANNOTATION_NEEDS, ANNOTATION_ISOLATION, *PROPERTIES)

LONGEST = 200  # maximum length of a tenant's list, in characters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Requirements:
    """The needs of one pod, with its requested sizes, without overhead."""

    needs: frozenset[str] = frozenset()
    isolation: str = 'none'
    cpus: float | None = None
    memory_mib: int | None = None


def derive(*, privileged: bool = False, cpus: float | None = None,
           memory_mib: int | None = None,
           annotations: Mapping[str, Any] | None = None,
           images: Iterable[Mapping[str, Any]] = (),
           ) -> Requirements:
    """Return the requirements of a Zun container or capsule.

    :param annotations: annotations of the capsule; others than ours are
        ignored.
    :param images: labels or properties of each image; others than
        IMAGE_KEYS are ignored.
    :raises InvalidInput: for an unknown value of one of our keys.
    """
    needs: set[str] = set()
    if privileged:
        needs.add('privileged')
    levels = ['none']
    for whose, values in (('', annotations or {}),
                          *(('image metadata ', image) for image in images)):
        for field in (ANNOTATION_NEEDS, PROPERTY_NEEDS):
            needs |= _needs(whose + field, values.get(field))
        for field in (ANNOTATION_ISOLATION, PROPERTY_ISOLATION):
            levels.append(_level(whose + field, values.get(field)))
        if str(values.get(PROPERTY_ENCRYPTION, '')).lower() in (
                'true', '1', 'yes'):
            levels.append('confidential')
    return Requirements(needs=frozenset(needs), isolation=strongest(*levels),
                        cpus=cpus, memory_mib=memory_mib)


def strongest(*levels: str) -> str:
    """Return the strongest of several levels of isolation."""
    return max(levels, key=ISOLATION.index)


def _needs(field: str, value: Any) -> set[str]:
    """Parse a comma-separated list of needs."""
    if value is None:
        return set()
    if not isinstance(value, str) or len(value) > LONGEST:
        raise _invalid(field, value, NEEDS)
    names = {name.strip() for name in value.split(',')} - {''}
    for name in names:
        if name not in NEEDS:
            raise _invalid(field, name, NEEDS)
    return names


def _level(field: str, value: Any) -> str:
    if value is None:
        return 'none'
    if not isinstance(value, str) or value not in ISOLATION:
        raise _invalid(field, value, ISOLATION)
    return value


def _invalid(field: str, value: Any,
             known: Iterable[str]) -> exception.InvalidInput:
    return exception.InvalidInput(
        field=field, value=str(value)[:LONGEST], why='unknown value',
        remedy=f'Use one of: {", ".join(known)}.')
