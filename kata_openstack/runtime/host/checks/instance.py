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

"""Whether this host is a Nova instance, which gets nesting from Nova."""

from collections.abc import Callable
import dataclasses
import http.client
import urllib.error
import urllib.request

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots

# Source: nova/virt/libvirt/driver.py, and cloud-init's ds-identify for the
# names that some clouds use instead.
_PRODUCTS = ('OpenStack Nova', 'OpenStack Compute')
_CHASSIS = ('OpenTelekomCloud', 'SAP CCloud VM', 'Samsung Cloud Platform')
_LABELS = ('config-2', 'CONFIG-2')
# The address is fixed by Nova; it is link-local and never routed.
_METADATA = 'http://169.254.169.254/openstack'
_TIMEOUT = 1.0  # seconds

Metadata = Callable[[], bool]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
    """Whether this host is a Nova instance.

    ``told_by`` is the source: dmi, config-drive or metadata; '' if it is not
    an instance. The remedy says how to get nested virtualization; it is
    empty if KVM is usable.
    """

    nova: bool = False
    told_by: str = ''
    product: str = ''
    reason: str = ''
    remedy: str = ''


def ask_metadata() -> bool:
    """Return whether Nova's metadata service answers within a second."""
    # no proxy: it would answer for its own link-local address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(_METADATA, timeout=_TIMEOUT) as answer:
            return answer.status == 200
    except (OSError, ValueError, http.client.HTTPException):
        return False


def check(roots: host_roots.Roots, cpu: facts.Cpu, kvm: facts.Kvm,
          metadata: Metadata | None = None) -> Instance:
    """Find out whether this host is a Nova instance.

    :param metadata: called on a virtual machine without a local sign of
        Nova; None to skip it.
    """
    dmi = roots.sys / 'class/dmi/id'
    product = roots.word(dmi / 'product_name')
    chassis = roots.word(dmi / 'chassis_asset_tag')
    told_by = ''
    if product in _PRODUCTS or chassis in (*_PRODUCTS, *_CHASSIS):
        told_by = 'dmi'
    elif any((roots.dev / 'disk/by-label' / label).exists()
             for label in _LABELS):
        told_by = 'config-drive'
    elif metadata is not None and cpu.nested and metadata():
        told_by = 'metadata'
    if not told_by:
        return Instance(product=product,
                        reason='this is not a Nova instance')
    reason = f'this is a Nova instance ({told_by})'
    return Instance(nova=True, told_by=told_by, product=product,
                    reason=reason,
                    remedy='' if kvm.usable else _remedy(cpu))


def _remedy(cpu: facts.Cpu) -> str:
    amd = cpu.vendor == 'AuthenticAMD'
    module, flag = ('kvm_amd', 'svm') if amd else ('kvm_intel', 'vmx')
    if cpu.virtualization:
        return (f'The instance has the CPU flag {cpu.virtualization}. Load '
                f'the module in it: modprobe {module}.')
    return ('For nested virtualization, load '
            f'{module} with nested=1 on the compute host and set [libvirt] '
            'cpu_mode = host-passthrough there (or cpu_model_extra_flags = '
            f'{flag}). Set trait:HW_CPU_X86_{flag.upper()}=required on the '
            'flavor or the image. Then resize or rebuild the instance.')
