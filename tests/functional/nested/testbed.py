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

"""A compute node with working KVM, on a machine that has none.

QEMU emulates AMD's SVM: a VM (called L1) under TCG whose kernel loads
kvm-amd has a real /dev/kvm and /dev/vhost-vsock. L1's root is this
machine's own file system, read-only by virtiofs, under an overlay of tmpfs:
all that is installed here is there, may be written to, and is gone
afterwards. /run, /tmp and /dev/shm are fresh tmpfs, but for the checkout
and the folders that the tests use, which may lie there.

It needs root, and Debian's qemu-system-x86, busybox-static and a cloud
kernel package: the one that KATA_TEST_KERNEL_DEB names, or else the one that
apt has, which is kept between runs in KATA_TEST_STATE.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from kata_openstack.runtime.embedded.image import cpio
from kata_openstack.runtime.embedded.image import kernel as guest_kernel
from kata_openstack.runtime.host.checks import programs
from kata_openstack.runtime.host import roots

STATE = pathlib.Path(os.environ.get(
    'KATA_TEST_STATE', '/var/tmp/kata-openstack-test')) / 'testbed'
BUSYBOX = pathlib.Path('/bin/busybox')
VIRTIOFSD = programs.virtiofsd(roots.Roots()).path
LOG_TAIL = 4000
# An L1 that uses less than this share of one CPU for so long waits for
# something that will not come.
_IDLE_SECONDS = 60
_IDLE_SHARE = 0.02

# Modules for L1 itself, for KVM, and for what runs pods in it. Those that
# they depend on come along.
BASE_MODULES = ('virtio_pci', 'virtio_console', 'virtiofs', 'overlay')
KVM_MODULES = ('kvm_amd',)
VSOCK_MODULES = ('vhost_vsock',)
POD_MODULES = ('tun', 'veth', 'bridge', 'sch_ingress', 'cls_u32',
               'cls_matchall', 'act_mirred', 'af_packet')

# Where L1 mounts file systems of its own
_FRESH = ('/run', '/tmp', '/dev/shm')  # noqa: S108

_APPLETS = ('cat', 'chroot', 'echo', 'hostname', 'insmod', 'ip', 'mkdir',
            'mount', 'sh', 'sleep')
_INIT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read name; do
    insmod /modules/$name.ko || echo "module $name does not load"
done < /modules/list
mkdir -p /lower /upper
mount -t virtiofs -o ro root /lower
mount -t tmpfs upper /upper
mkdir -p /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work \
    root /newroot
cd /newroot
count=0
while read -r path; do
    count=$((count + 1))
    mkdir -p /kept/$count
    mount -o bind "/newroot$path" /kept/$count
done < /kept/list
mount --move /dev dev
mount -t proc proc proc
mount -t sysfs sys sys
mount -t cgroup2 cgroup sys/fs/cgroup
mkdir -p dev/shm dev/pts
mount -t tmpfs shm dev/shm
mount -t devpts -o ptmxmode=0666 pts dev/pts
mount -t tmpfs run run
mount -t tmpfs tmp tmp
count=0
while read -r path; do
    count=$((count + 1))
    mkdir -p "/newroot$path"
    mount --move /kept/$count "/newroot$path"
done < /kept/list
ip link set lo up
hostname l1
port() {
    for device in /newroot/sys/class/virtio-ports/*; do
        [ "$(cat $device/name)" != $1 ] || echo dev/${device##*/}
    done
}
chroot /newroot /bin/sh -c "$(cat /command)" \
    > $(port stdout) 2> $(port stderr) < dev/null
echo $? > $(port status)
echo o > /proc/sysrq-trigger
sleep 60
"""
_KERNEL_LINE = ('console=ttyS0 panic=-1 quiet loglevel=3 mitigations=off '
                'nokaslr norandmaps tsc=reliable no_timer_check '
                # TCG does not see what virtiofsd writes over code
                'init_on_alloc=1 cryptomgr.notests')


class TestbedError(Exception):
    """L1 did not come up or did not end; the message has its console."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What the program did in L1; ``seconds`` includes L1's own boot."""

    returncode: int
    stdout: str
    stderr: str
    console: str
    seconds: float


def skip_unless_possible() -> None:
    """:raises unittest.SkipTest: if something for an L1 is missing."""
    if os.geteuid() != 0:
        raise unittest.SkipTest('virtiofsd needs root')
    for program, path in (('qemu-system-x86_64', 'qemu-system-x86_64'),
                          ('virtiofsd', VIRTIOFSD), (BUSYBOX, BUSYBOX)):
        if path is None or shutil.which(path) is None:
            raise unittest.SkipTest(f'{program} is not installed')


def host_check() -> list[str]:
    """The command `kata-openstack host check`, with its result as JSON."""
    script = pathlib.Path(sys.executable).with_name('kata-openstack')
    return [str(script), 'host', 'check', '-f', 'json']


@functools.cache
def kernel_package() -> pathlib.Path:
    """A cloud kernel package of Debian, for L1 and for what runs in it."""
    named = os.environ.get('KATA_TEST_KERNEL_DEB')
    if named:
        return pathlib.Path(named)
    kept = sorted(STATE.glob('*.deb'))
    if kept:
        return kept[-1]
    STATE.mkdir(parents=True, exist_ok=True)
    name = subprocess.run(
        ['apt-cache', 'depends', '--important', 'linux-image-cloud-amd64'],
        check=True, capture_output=True, text=True).stdout.split()[-1]
    subprocess.run(['apt-get', 'download', '-q', name], cwd=STATE,
                   check=True, capture_output=True)
    return next(STATE.glob('*.deb'))


@functools.cache
def kernel() -> guest_kernel.Kernel:
    """The kernel of L1, unpacked with all its modules."""
    folder = STATE / kernel_package().stem
    if not folder.exists():
        STATE.mkdir(parents=True, exist_ok=True)
        partial = folder.with_suffix('.partial')
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(['dpkg-deb', '-x', kernel_package(), partial],
                       check=True)
        partial.rename(folder)
    return guest_kernel.Kernel(folder)


def _kept() -> list[str]:
    """Folders that L1's own file systems would hide."""
    needed = [pathlib.Path(__file__).parents[3], pathlib.Path(sys.prefix),
              STATE.absolute(), kernel_package().absolute().parent]
    return [str(path) for path in needed
            if any(path.is_relative_to(folder) for folder in _FRESH)]


def _write_initramfs(path: pathlib.Path, modules: Iterable[str],
                     command: str) -> None:
    with path.open('wb') as out:
        archive = cpio.Archive(out)
        for folder in ('proc', 'sys', 'dev', 'newroot'):
            archive.folder(folder)
        archive.file('bin/busybox', BUSYBOX.read_bytes(), 0o755)
        for applet in _APPLETS:
            archive.link(f'bin/{applet}', 'busybox')
        found = kernel().modules(modules)
        for name, content in found.items():
            archive.file(f'modules/{name}.ko', content)
        archive.file('modules/list', '\n'.join([*found, '']).encode())
        archive.file('command', command.encode())
        archive.file('kept/list', ''.join(
            f'{path}\n' for path in _kept()).encode())
        archive.file('init', _INIT.encode(), 0o755)
        archive.end()


def _qemu(folder: pathlib.Path, svm: bool, memory_mib: int,
          vcpus: int) -> list[str]:
    argv = ['qemu-system-x86_64', '-nodefaults', '-no-user-config',
            '-display', 'none', '-no-reboot',
            '-machine', 'q35,memory-backend=memory',
            '-object', 'memory-backend-memfd,id=memory,share=on,'
                       f'size={memory_mib}M',
            '-m', f'{memory_mib}M', '-smp', str(vcpus),
            '-accel', 'tcg,thread=multi,tb-size=256',
            # with five levels of page tables and without SVM, readlink of
            # /proc/self/exe gives garbage under QEMU 7.2
            '-cpu', f'max,la57=off,svm={"on" if svm else "off"}',
            '-kernel', str(kernel().image),
            '-initrd', str(folder / 'initramfs'), '-append', _KERNEL_LINE,
            '-serial', f'file:{folder}/console',
            '-chardev', f'socket,id=root,path={folder}/root.sock',
            '-device', 'vhost-user-fs-pci,chardev=root,tag=root',
            '-device', 'virtio-serial-pci']
    for number, name in enumerate(('stdout', 'stderr', 'status'), 1):
        argv += ['-chardev', f'file,id={name},path={folder}/{name}',
                 '-device', f'virtserialport,chardev={name},name={name},'
                            f'nr={number}']
    return argv


@contextlib.contextmanager
def _ended(process: subprocess.Popen):
    """End the process when the block ends, also by an error."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_for(path: pathlib.Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TestbedError(f'{process.args[0]} made no {path}')
        time.sleep(0.02)


def _cpu_seconds(pid: int) -> float:
    """What a process has used; that of a zombie counts as well."""
    # the name, in parentheses, may hold anything
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(
        ')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _wait_for_end(qemu: subprocess.Popen, timeout: float) -> str:
    """Wait until L1 has ended.

    The limit is CPU time, because a busy machine gives L1 only a share of
    it: L1 is as slow as that, and not broken.

    :returns: why it did not end, or ''.
    """
    used = since = 0.0
    while True:
        try:
            qemu.wait(_IDLE_SECONDS)
            return ''
        except subprocess.TimeoutExpired:
            since, used = used, _cpu_seconds(qemu.pid)
        if used > timeout:
            return f'L1 did not end within {timeout:g} s of CPU time. '
        if used - since < _IDLE_SECONDS * _IDLE_SHARE:
            return (f'L1 did not end, and was idle for {_IDLE_SECONDS} s '
                    f'after {used:.0f} s of CPU time. ')


def run_in_l1(argv: Sequence[str | os.PathLike[str]], *, svm: bool = True,
              vsock: bool = True, memory_mib: int = 2048, vcpus: int = 2,
              timeout: float = 120, cwd: str | os.PathLike[str] | None = None,
              env: Mapping[str, str] | None = None,
              before: str = '') -> Result:
    """Run a program of this machine in a fresh L1 and wait for its end.

    :param svm: whether L1's CPU can virtualize; without it no /dev/kvm.
    :param vsock: whether L1 has /dev/vhost-vsock.
    :param timeout: seconds of CPU time, from L1's start to its end.
    :param env: added to PATH, which is this process's own.
    :param before: shell commands that prepare L1, run as root.
    :raises TestbedError: when L1 does not come up or end in time.
    """
    variables = {'PATH': os.environ['PATH'], 'HOME': '/root', **(env or {})}
    command = '\n'.join([
        before, f'cd {shlex.quote(str(cwd or os.getcwd()))} &&',
        shlex.join(['exec', 'env', '-i',
                    *(f'{k}={v}' for k, v in variables.items()),
                    *map(str, argv)])])
    modules = [*BASE_MODULES, *POD_MODULES, *(KVM_MODULES if svm else ()),
               *(VSOCK_MODULES if vsock else ())]
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix='kata-testbed-', dir='/tmp')))
        _write_initramfs(folder / 'initramfs', modules, command)
        log = stack.enter_context((folder / 'log').open('w'))
        virtiofsd = stack.enter_context(_ended(subprocess.Popen(
            [VIRTIOFSD, f'--socket-path={folder}/root.sock',
             '-o', 'source=/', '-o', 'cache=always,sandbox=chroot,xattr',
             '-f'], stdin=subprocess.DEVNULL, stdout=log, stderr=log)))
        _wait_for(folder / 'root.sock', virtiofsd)
        qemu = stack.enter_context(_ended(subprocess.Popen(
            _qemu(folder, svm, memory_mib, vcpus),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)))
        problem = _wait_for_end(qemu, timeout)
        if problem:
            raise TestbedError(problem + _evidence(folder))
        status = _read(folder / 'status').strip()
        if not status:
            raise TestbedError('The program did not end. '
                               + _evidence(folder))
        return Result(returncode=int(status),
                      stdout=_read(folder / 'stdout'),
                      stderr=_read(folder / 'stderr'),
                      console=_read(folder / 'console'),
                      seconds=time.monotonic() - begin)


def _read(path: pathlib.Path) -> str:
    return path.read_text(errors='replace') if path.exists() else ''


def _evidence(folder: pathlib.Path) -> str:
    return '\n'.join(
        f'--- {name}:\n{_read(folder / name)[-LOG_TAIL:]}'
        for name in ('console', 'stdout', 'stderr', 'log'))
