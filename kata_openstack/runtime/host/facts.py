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

"""What is known of a host: plain, frozen data, filled by the checks."""

import dataclasses
import enum
import pathlib


class KvmState(enum.StrEnum):
    """What /dev/kvm is worth, judged by guest code that was run and timed.

    HARDWARE  guest code runs at a speed near the host's own.
    EMULATED  it opens and creates VMs, but guest code crawls.
    ABSENT    there is no /dev/kvm.
    DENIED    this process may not open it.
    BROKEN    an ioctl failed, or guest code did not end as it must.
    UNKNOWN   no test guest exists for this architecture.
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
    """``virtualization`` is 'vmx', 'svm' or ''; ``nested``: we are a VM.

    ``level``: hypervisors below us, at least; more than one cannot be seen.
    ``hypervisor`` names the one directly below ('' on bare metal), and
    ``hypervisor_source`` says how that is known. ``second_level_paging`` is
    the CPU's 'ept', 'npt' or ''. What is ``_enabled`` is a parameter of
    KVM's module, None if that is not loaded; ``nesting_enabled``: our own
    guests may have guests.
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
                   else 'no virtual machine')
        return (f'{self.count} CPUs of {self.vendor or "unknown vendor"} '
                f'({self.architecture}), {virtual}, '
                f'{self.virtualization or "neither vmx nor svm"}'
                + (f' with {self.second_level_paging}'
                   if self.second_level_paging else ''))

    @property
    def remedy(self) -> str:
        """Without EPT or NPT, KVM works and guests are slow."""
        if self.virtualization and (
                not self.second_level_paging
                or self.second_level_paging_enabled is False):
            name = 'ept' if self.virtualization == 'vmx' else 'npt'
            module = 'kvm_intel' if name == 'ept' else 'kvm_amd'
            return (f'Guests are slow without {name.upper()}: load {module} '
                    f'with {name}=1; a virtual machine must get the feature '
                    'from its host.')
        return ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kvm:
    """Speeds are loop iterations per second; ``entry_us`` microseconds.

    ``failed`` names the ioctl of a broken KVM. ``capabilities`` are
    KVM_CHECK_EXTENSION's answers for what hypervisors need.
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
        """Speed of guest code, 1.0 being the same loop run natively."""
        if self.iterations_per_second and self.native_iterations_per_second:
            return (self.iterations_per_second
                    / self.native_iterations_per_second)
        return None

    @property
    def summary(self) -> str:
        """A few words, for a message about something else."""
        speed = ('' if self.ratio is None else
                 f' ({percent(self.ratio)} of native speed)')
        return f'KVM is {self.state}{speed}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """A device node, judged by opening it."""

    path: str
    state: DeviceState
    reason: str
    remedy: str = ''

    @property
    def usable(self) -> bool:
        return self.state == DeviceState.USABLE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A program that a hypervisor needs; ``path`` is None if not found."""

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
    ``clh-runtime-rs``; ``runtime`` is 'go' or 'rust'. ``table`` is the
    configuration's [hypervisor.<table>]; ``files`` are those that it names:
    hypervisor, kernel, image, initrd, virtiofsd. ``static_sizing``: a VM
    keeps the size that it started with; None if nothing is said.
    ``template``: VMs are cloned from one.
    ``problem``: why it cannot start, in one line.
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
    """Two digits for what is small; 1.1 is '110 %', not '1.1e+02 %'."""
    value = 100 * ratio
    return f'{value:.0f} %' if value >= 10 else f'{value:.2g} %'
