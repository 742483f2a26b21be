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

"""PCI passthrough: IOMMU groups and the devices bound to vfio-pci."""

import dataclasses
import pathlib

from kata_openstack.runtime.host import roots as host_roots

_NVIDIA = '0x10de'
_DISPLAY = ('0x0300', '0x0302')  # PCI classes of GPUs


@dataclasses.dataclass(frozen=True, kw_only=True)
class PciDevice:
    """A device bound to vfio-pci; ids as in /sys (``0x10de``)."""

    address: str
    group: int | None
    vendor: str
    device: str
    pci_class: str

    @property
    def nvidia_gpu(self) -> bool:
        return (self.vendor == _NVIDIA
                and self.pci_class.startswith(_DISPLAY))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Iommu:
    """The IOMMU of this host.

    ``groups``: the number of IOMMU groups. ``vfio``: /dev/vfio/vfio exists.
    ``devices``: those bound to vfio-pci.
    """

    groups: int = 0
    vfio: bool = False
    devices: tuple[PciDevice, ...] = ()
    reason: str = ''
    remedy: str = ''

    @property
    def usable(self) -> bool:
        """Whether devices can be passed to a guest safely."""
        return self.groups > 0 and self.vfio


def _device(roots: host_roots.Roots, address: str) -> PciDevice:
    folder = roots.sys / 'bus/pci/devices' / address
    try:
        group = int(pathlib.Path((folder / 'iommu_group').readlink()).name)
    except (OSError, ValueError):
        group = None
    return PciDevice(
        address=address, group=group, vendor=roots.word(folder / 'vendor'),
        device=roots.word(folder / 'device'),
        pci_class=roots.word(folder / 'class'))


def check(roots: host_roots.Roots) -> Iommu:
    groups = len(roots.names(roots.sys / 'kernel/iommu_groups'))
    # the folder also has the driver's own files, without a colon
    bound = tuple(_device(roots, name) for name in roots.names(
        roots.sys / 'bus/pci/drivers/vfio-pci') if ':' in name)
    vfio = (roots.dev / 'vfio/vfio').exists()
    if not groups:
        reason = 'there are no IOMMU groups'
        remedy = ('To pass PCI devices through, enable VT-d or AMD-Vi in the '
                  'firmware, and on Intel boot with intel_iommu=on. A virtual '
                  'machine needs a virtual IOMMU (Nova: hw:viommu_model).')
    elif not vfio:
        reason = f'there are {groups} IOMMU groups, but no /dev/vfio/vfio'
        remedy = 'Load the module: modprobe vfio_pci.'
    else:
        reason = (f'there are {groups} IOMMU groups, and {len(bound)} '
                  'devices are bound to vfio-pci')
        remedy = ''
    return Iommu(groups=groups, vfio=vfio, devices=bound, reason=reason,
                 remedy=remedy)
