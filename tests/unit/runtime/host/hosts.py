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

"""Recorded hosts: fake file system roots, and measurements of KVM."""

import errno
import os
import pathlib
import struct
import tempfile
from typing import Any

from kata_openstack.runtime.host import probe
from kata_openstack.runtime.host import report
from kata_openstack.runtime.host import roots as host_roots

HARDWARE = {'api_version': 12, 'capabilities': {'irqchip': 1},
            'guest': {'iterations': 40960000, 'seconds': 0.0137,
                      'entry_seconds': 3e-6},
            'native': {'iterations': 40960000, 'seconds': 0.0135}}
# SVM emulated by QEMU, measured in the nested testbed
EMULATED_SVM = {'api_version': 12, 'capabilities': {'irqchip': 1},
                'guest': {'iterations': 2560000, 'seconds': 0.0178,
                          'entry_seconds': 4e-4},
                'native': {'iterations': 2560000, 'seconds': 0.0074}}
# a pagetable-VM KVM, measured on a CI machine
INTERPRETING = {'api_version': 12, 'capabilities': {'irqchip': 1},
                'guest': {'iterations': 10000, 'seconds': 0.0104,
                          'entry_seconds': 2e-5},
                'native': {'iterations': 10240000, 'seconds': 0.0057}}
# 2 % of native speed: emulated, or measured on a busy machine
DOUBTFUL = {**INTERPRETING, 'guest': {
    'iterations': 400000, 'seconds': 0.0104, 'entry_seconds': 2e-5}}
NEVER = {'failed': 'KVM_RUN', 'why': 'must not be measured'}


def _configured(shim: str) -> tuple[str, str, bool]:
    """Table, shared_fs and static sizing of a handler.

    Source: the Makefiles of Kata 4.1's two runtimes.
    """
    rust = shim.endswith('-runtime-rs')
    if shim.startswith('qemu-nvidia-'):
        shared_fs = ('virtio-fs' if shim in (
            'qemu-nvidia-gpu', 'qemu-nvidia-cpu') else 'none')
        return 'qemu', shared_fs, True
    if shim.startswith(('qemu-snp', 'qemu-tdx', 'qemu-se', 'qemu-coco-dev')):
        return 'qemu', 'none', True
    return {
        'qemu': ('qemu', 'virtio-fs', rust),
        'clh': ('clh', 'virtio-fs', rust),
        'clh-azure': ('clh', 'virtio-fs', True),
        'fc': ('firecracker', '', True),
        'stratovirt': ('stratovirt', 'virtio-fs', True),
        'dragonball': ('dragonball', 'inline-virtio-fs', True),
        'openvmm-azure': ('openvmm', 'virtio-fs', True),
        'remote': ('remote', '', True),
    }[shim.removesuffix('-runtime-rs')]


class RecordedHost:
    """A host in the folder ``root``; ``probe()`` probes it.

    :param measured: the answer of the test guest on this host.
    :param devices: device nodes (plain files here) below /dev.
    :param programs: programs in PATH, and others with their folder.
    :param kata: files below the root of Kata. Configuration files get
        upstream's settings, and the files that they name are created.
    :param shm_mib: size of /dev/shm; None if it does not exist.
    :param files: more files, such as sys/hypervisor/type, with their text.
    :param cpuid: signatures of hypervisors, by leaf.
    :param msrs: readable registers of the first CPU, by number.
    :param links: symbolic links and their targets.
    """

    def __init__(self, root: pathlib.Path, *, flags: str = 'fpu vmx',
                 vendor: str = 'GenuineIntel', architecture: str = 'x86_64',
                 measured: dict[str, Any] = HARDWARE,
                 devices: tuple[str, ...] = ('kvm', 'vhost-vsock', 'net/tun'),
                 programs: tuple[str, ...] = (),
                 kata: tuple[str, ...] = (),
                 shm_mib: int | None = 16384,
                 files: dict[str, str] | None = None,
                 cpuid: dict[int, str] | None = None,
                 msrs: dict[int, int] | None = None,
                 links: dict[str, str] | None = None) -> None:
        self.root = root
        self.architecture = architecture
        self.measured = measured
        self.measurements = 0
        self.shm_mib = shm_mib
        self.qemu: pathlib.Path | None = None
        self._write('proc/cpuinfo', ''.join(
            f'processor\t: {n}\n' + (
                f'vendor_id\t: {vendor}\nmodel name\t: Some CPU\n'
                f'flags\t\t: {flags}\n\n' if flags else
                f'CPU implementer\t: {vendor}\n\n')
            for n in range(2)))
        self._write('proc/sys/kernel/random/boot_id', 'boot-1\n')
        for node in devices:
            self._write(f'dev/{node}')
        for name in programs:
            path = name if '/' in name else f'bin/{name}'
            self._write(path).chmod(0o755)
        for name in kata:
            self._write(f'kata/{name}')
            if name.endswith('.toml'):
                self._configure(name)
        for name, text in (files or {}).items():
            self._write(name, text)
        for name, target in (links or {}).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        for leaf, signature in (cpuid or {}).items():
            self._write_at('dev/cpu/0/cpuid', leaf, struct.pack(
                '=I12s', leaf | 1, signature.encode()))
        for number, value in (msrs or {}).items():
            self._write_at('dev/cpu/0/msr', number, struct.pack('=Q', value))

    def _configure(self, name: str) -> None:
        """Write the settings of Kata 4.1 on x86-64 that the probe reads."""
        shim = pathlib.Path(name).stem.removeprefix('configuration-')
        table, shared_fs, static = _configured(shim)
        lines = [f'[hypervisor.{table}]']
        for key, file in (('path', f'bin/{table}'),
                          ('kernel', 'share/kata-containers/vmlinux'),
                          ('image', 'share/kata-containers/image'),
                          ('virtio_fs_daemon', 'libexec/virtiofsd')):
            if table != 'remote':
                path = self._write(f'kata/{file}')
                lines.append(f'{key} = "{path}"')
        if shared_fs:
            lines.append(f'shared_fs = "{shared_fs}"')
        factory = (f'[hypervisor.{table}.factory]' if 'runtime-rs/' in name
                   else '[factory]')
        self._write(f'kata/{name}', '\n'.join((
            *lines, factory, 'enable_template = false', '[runtime]',
            f'static_sandbox_resource_mgmt = {str(static).lower()}', '')))

    def _write(self, name: str, text: str = '') -> pathlib.Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def _write_at(self, name: str, offset: int, content: bytes) -> None:
        """Write to a sparse file: leaves and registers are large numbers."""
        path = self.root / name
        if not path.exists():
            self._write(name)
        with path.open('r+b') as file:
            file.seek(offset)
            file.write(content)

    @property
    def roots(self) -> host_roots.Roots:
        root = self.root
        return host_roots.Roots(
            proc=root / 'proc', sys=root / 'sys', dev=root / 'dev',
            kata=root / 'kata', qemu=self.qemu, run=root / 'run',
            etc=root / 'etc', usr=root / 'usr', path=str(root / 'bin'),
            statvfs=self.statvfs)

    def statvfs(self, path: pathlib.Path) -> os.statvfs_result:
        """The values of the host's /dev/shm, all of it free."""
        if path != self.root / 'dev/shm' or self.shm_mib is None:
            raise FileNotFoundError(errno.ENOENT, 'no such file', str(path))
        blocks = self.shm_mib << 8
        return os.statvfs_result(
            (4096, 4096, blocks, blocks, blocks, 0, 0, 0, 0, 255))

    def measure(self, path: pathlib.Path) -> dict[str, Any]:
        assert path == self.root / 'dev/kvm'
        self.measurements += 1
        return self.measured

    def probe(self, **kwargs: Any) -> report.Host:
        return probe.probe(self.roots, **{
            'measure': self.measure, 'architecture': self.architecture,
            **kwargs})


KATA_GO = ('bin/containerd-shim-kata-v2',
           'share/defaults/kata-containers/configuration-qemu.toml',
           'share/defaults/kata-containers/configuration-clh.toml')
# Enables templates for the qemu of KATA_GO; upstream disables them.
TEMPLATES = {f'kata/{KATA_GO[1]}': '[factory]\nenable_template = true\n'}
KATA_RUST = (
    'runtime-rs/bin/containerd-shim-kata-v2',
    'share/defaults/kata-containers/runtime-rs/'
    'configuration-qemu-runtime-rs.toml',
    'share/defaults/kata-containers/runtime-rs/runtimes/clh-runtime-rs/'
    'configuration-clh-runtime-rs.toml')

# Every handler that this project knows, with the files of two unpacked
# releases.
KATA_ALL = (
    KATA_GO[0], KATA_RUST[0],
    *(f'share/defaults/kata-containers/configuration-{shim}.toml' for shim in (
        'qemu', 'clh', 'fc', 'stratovirt', 'remote', 'qemu-snp', 'qemu-tdx',
        'qemu-se', 'qemu-nvidia-gpu', 'qemu-nvidia-gpu-snp',
        'qemu-nvidia-gpu-tdx', 'qemu-nvidia-cpu', 'qemu-coco-dev',
        'clh-azure')),
    *('share/defaults/kata-containers/runtime-rs/'
      f'configuration-{shim}.toml' for shim in (
          'qemu-runtime-rs', 'clh-runtime-rs', 'dragonball',
          'openvmm-azure-runtime-rs', 'qemu-snp-runtime-rs',
          'qemu-tdx-runtime-rs', 'qemu-se-runtime-rs',
          'qemu-nvidia-gpu-runtime-rs', 'qemu-nvidia-gpu-snp-runtime-rs',
          'qemu-nvidia-gpu-tdx-runtime-rs', 'qemu-nvidia-cpu-runtime-rs',
          'qemu-coco-dev-runtime-rs', 'clh-azure-runtime-rs')))
QEMU = {'programs': ('qemu-system-x86_64', 'virtiofsd')}


def recorded(test: Any, **kwargs: Any) -> RecordedHost:
    """A recorded host in a folder that is removed after the test."""
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    return RecordedHost(pathlib.Path(folder.name), **kwargs)
