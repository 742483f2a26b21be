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

"""The facts about a host: frozen data classes that the checks fill."""

import dataclasses
import enum
import pathlib


class KvmState(enum.StrEnum):
    """The state of /dev/kvm, measured by running and timing guest code.

    HARDWARE  guest code runs at 5 % of native speed or more.
    EMULATED  KVM creates VMs, but guest code is too slow to be of use.
    ABSENT    /dev/kvm does not exist, or has no driver.
    DENIED    this process has no permission to open /dev/kvm.
    BROKEN    an ioctl failed, or the guest did not end with HLT.
    UNKNOWN   there is no test guest for this architecture.
    """

    HARDWARE = 'hardware'
    EMULATED = 'emulated'
    ABSENT = 'absent'
    DENIED = 'denied'
    BROKEN = 'broken'
    UNKNOWN = 'unknown'


class DeviceState(enum.StrEnum):
    USABLE = 'usable'
    ABSENT = 'absent'
    DENIED = 'denied'
    BROKEN = 'broken'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cpu:
    """The CPU of this host.

    ``virtualization`` is 'vmx', 'svm' or ''. ``nested``: this host is a VM.
    ``level``: the minimum number of hypervisors below this host, 0 or 1;
    more than one cannot be detected. ``hypervisor`` is the one directly
    below ('' on bare metal), and ``hypervisor_source`` the source of that
    name. ``second_level_paging`` is the CPU's 'ept', 'npt' or ''.

    The fields ``..._enabled`` are parameters of KVM's module, None if the
    module is not loaded. ``nesting_enabled``: guests of this host may have
    guests of their own.
    """

    architecture: str
    vendor: str = ''
    model: str = ''
    count: int = 1
    virtualization: str = ''
    nested: bool = False
    level: int = 0
    hypervisor: str = ''
    hypervisor_source: str = ''
    second_level_paging: str = ''
    second_level_paging_enabled: bool | None = None
    nesting_enabled: bool | None = None

    @property
    def reason(self) -> str:
        virtual = (f'a virtual machine on {self.hypervisor}' if self.nested
                   else 'bare metal')
        return (f'{self.count} CPUs ({self.vendor or "unknown vendor"}, '
                f'{self.architecture}) of {virtual}, with '
                f'{self.virtualization or "neither vmx nor svm"}'
                + (f' and {self.second_level_paging}'
                   if self.second_level_paging else ''))

    @property
    def remedy(self) -> str:
        """Without EPT or NPT, KVM works but guests are slow."""
        if self.virtualization and (
                not self.second_level_paging
                or self.second_level_paging_enabled is False):
            name = 'ept' if self.virtualization == 'vmx' else 'npt'
            module = 'kvm_intel' if name == 'ept' else 'kvm_amd'
            return (f'Guests are slow without {name.upper()}: load {module} '
                    f'with {name}=1. On a virtual machine, also pass the CPU '
                    f'flag {name} through from its host.')
        return ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kvm:
    """The KVM of this host.

    Speeds are in loop iterations per second. ``entry_us``: microseconds for
    one entry into the guest and the exit. ``failed`` is the ioctl that
    failed on a broken KVM. ``capabilities`` are the answers of
    KVM_CHECK_EXTENSION for the extensions that hypervisors need.
    """

    state: KvmState
    reason: str
    remedy: str = ''
    iterations_per_second: int | None = None
    native_iterations_per_second: int | None = None
    entry_us: float | None = None
    failed: str = ''
    api_version: int | None = None
    capabilities: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def usable(self) -> bool:
        return self.state == KvmState.HARDWARE

    @property
    def ratio(self) -> float | None:
        """The speed of guest code as a fraction of native speed."""
        if self.iterations_per_second and self.native_iterations_per_second:
            return (self.iterations_per_second
                    / self.native_iterations_per_second)
        return None

    @property
    def summary(self) -> str:
        """The state in a few words, for use within other messages."""
        speed = ('' if self.ratio is None else
                 f' ({percent(self.ratio)} of native speed)')
        return f'KVM is {self.state}{speed}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """A device node; its state is found by opening it."""

    path: str
    state: DeviceState
    reason: str
    remedy: str = ''

    @property
    def usable(self) -> bool:
        return self.state == DeviceState.USABLE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A program that a hypervisor needs; ``path`` is None if not installed."""

    name: str
    path: pathlib.Path | None
    reason: str
    remedy: str = ''
    version: str = ''

    @property
    def usable(self) -> bool:
        return self.path is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class KataShim:
    """One installed handler of upstream Kata.

    ``name`` is upstream's shim name, such as ``qemu`` or
    ``clh-runtime-rs``; ``runtime`` is 'go' or 'rust'. The configuration has
    the table [hypervisor.<table>], which names ``files``: hypervisor,
    kernel, image, initrd, virtiofsd. ``static_sizing``: the size of a VM is
    fixed at its start; None if the configuration does not set it.
    ``template``: VMs are cloned from a template.
    ``problem``: why the handler cannot start a VM, in one line; '' if none.
    """

    name: str
    runtime_path: pathlib.Path
    config_path: pathlib.Path
    runtime: str = ''
    version: str = ''
    table: str = ''
    files: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    hypervisor_version: str = ''
    shared_fs: str = ''
    static_sizing: bool | None = None
    template: bool = False
    problem: str = ''


def percent(ratio: float) -> str:
    """Format with two digits below 10 %, without decimals from 10 % on."""
    value = 100 * ratio
    return f'{value:.0f} %' if value >= 10 else f'{value:.2g} %'
