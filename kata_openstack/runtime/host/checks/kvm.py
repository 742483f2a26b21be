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

"""The state of KVM, found by running and timing guest code.

That /dev/kvm opens and creates VMs is not enough: some hosts interpret guest
code, and a kernel never boots there. So the check runs a counted loop in a
test guest and natively, both in a separate process, and compares the two
speeds. The ratio is nearly 1 with hardware, about 0.4 with SVM emulated by
QEMU, and less than 0.001 with a KVM that interprets.
"""

from collections.abc import Callable
import contextlib
import errno
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import roots as host_roots

# An eighth of the ratio of the slowest usable KVM, and fifty times that of
# the fastest unusable one. Two to four busy processes per CPU change the
# measured ratio by a factor of up to four in both directions. A single stall
# can change it by a factor of thousands, so kvm_guest takes the shortest of
# several runs.
USABLE_RATIO = 0.05
# A busy host does not explain a lower ratio than this: it is a sixteenth of
# the lowest that a busy host makes of the slowest usable KVM, and still above
# the ratio of the fastest unusable one.
_CLEARLY_SLOW = USABLE_RATIO / 8
# Iterations per second; used if the native loop cannot run, because
# executable memory is forbidden.
USABLE_SPEED = 20_000_000
# Seconds until the test guest's process is killed. It normally stops itself
# much earlier, but a loaded host can take seconds to start a process.
TIMEOUT = 10.0

_GUEST = pathlib.Path(__file__).with_name('kvm_guest.py')
_ARCHITECTURES = ('x86_64',)

Measure = Callable[[pathlib.Path], dict[str, Any]]


def run_guest(path: pathlib.Path) -> dict[str, Any]:
    """Run kvm_guest in a separate process.

    :returns: the answer of :func:`kvm_guest.measure`; only ``failed`` and
        ``why`` if the process hangs or fails.
    """
    process = subprocess.Popen(
        [sys.executable, '-I', '-S', str(_GUEST), str(path)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        # do not wait longer: KVM_RUN may be uninterruptible
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=0.2)
        return {'failed': 'KVM_RUN',
                'why': f'guest code did not end within {TIMEOUT:g} s'}
    if process.returncode != 0:
        lines = err.strip().splitlines() or ['no message']
        return {'failed': 'KVM_RUN',
                'why': f'the test guest ended with status '
                       f'{process.returncode}: {lines[-1]}'}
    return json.loads(out)


def check(roots: host_roots.Roots, cpu: facts.Cpu,
          measure: Measure = run_guest) -> facts.Kvm:
    """Measure this host's KVM; takes about 0.1 s."""
    path = roots.dev / 'kvm'
    if not path.exists():
        return _absent(path, cpu)
    if cpu.architecture not in _ARCHITECTURES:
        return facts.Kvm(
            state=facts.KvmState.UNKNOWN,
            reason=f'{path} exists, but its test guest runs on '
                   f'{", ".join(_ARCHITECTURES)} only, not on '
                   f'{cpu.architecture}',
            remedy=f'Use a node with {" or ".join(_ARCHITECTURES)}, or port '
                   'the test guest '
                   '(kata_openstack/runtime/host/checks/kvm_guest.py).')
    answer = measure(path)
    if answer.get('errno') in (errno.EACCES, errno.EPERM):
        return facts.Kvm(
            state=facts.KvmState.DENIED,
            reason=f'{path} may not be opened by uid {os.geteuid()}',
            remedy='Run as root, or add the user to the group that owns '
                   f'{path} (usually kvm).')
    if answer.get('errno') in (errno.ENODEV, errno.ENXIO):
        # a static device node without the module behind it
        return _absent(path, cpu)
    if 'failed' in answer:
        return facts.Kvm(
            state=facts.KvmState.BROKEN,
            reason=f'{answer["failed"]} on {path} failed: {answer["why"]}',
            remedy="See dmesg for KVM's error. On a virtual machine, also "
                   'check nested virtualization on its host.',
            failed=answer['failed'],
            api_version=answer.get('api_version'),
            capabilities=answer.get('capabilities', {}))
    return _judge(path, answer)


def doubtful(found: facts.Kvm) -> bool:
    """Return whether a second measurement may find KVM usable."""
    return found.state == facts.KvmState.EMULATED and (
        found.ratio is None or found.ratio >= _CLEARLY_SLOW)


def _absent(path: pathlib.Path, cpu: facts.Cpu) -> facts.Kvm:
    if cpu.virtualization:
        module = {'vmx': 'kvm_intel', 'svm': 'kvm_amd'}[cpu.virtualization]
        remedy = f'Load the module: modprobe {module}.'
        reason = (f'there is no {path}, although the CPU has '
                  f'{cpu.virtualization}')
    elif cpu.nested:
        remedy = ('This node is a virtual machine: enable nested '
                  'virtualization on its host and pass the CPU flag vmx or '
                  'svm through (Nova: [libvirt] cpu_mode = '
                  'host-passthrough).')
        reason = (f'there is no {path}, and the virtual CPU has neither '
                  'vmx nor svm')
    else:
        remedy = "Enable VT-x or AMD-V in the machine's firmware."
        reason = f'there is no {path}, and the CPU has neither vmx nor svm'
    return facts.Kvm(state=facts.KvmState.ABSENT, reason=reason,
                     remedy=remedy)


def _speed(measured: dict[str, float] | None) -> int | None:
    if not measured or measured['seconds'] <= 0:
        return None
    return round(measured['iterations'] / measured['seconds'])


def _judge(path: pathlib.Path, answer: dict[str, Any]) -> facts.Kvm:
    guest, native = _speed(answer['guest']), _speed(answer.get('native'))
    speed = guest or 0
    if native:
        share = speed / native
        usable = share >= USABLE_RATIO
        words = (f'guest code runs at {_million(speed)} loop iterations/s, '
                 f'{facts.percent(share)} of native speed')
    else:
        usable = speed >= USABLE_SPEED
        words = f'guest code runs at {_million(speed)} loop iterations/s'
    if usable:
        state, remedy = facts.KvmState.HARDWARE, ''
        reason = words
    else:
        state = facts.KvmState.EMULATED
        reason = f'{path} opens, but {words}, so it is interpreted'
        remedy = ('Use a node with hardware virtualization: bare metal, or '
                  'a virtual machine whose hypervisor passes vmx or svm '
                  'through.')
    return facts.Kvm(
        state=state, reason=reason, remedy=remedy,
        iterations_per_second=speed, native_iterations_per_second=native,
        entry_us=round(answer['guest']['entry_seconds'] * 1e6, 1),
        api_version=answer['api_version'],
        capabilities=answer['capabilities'])


def _million(speed: int) -> str:
    return f'{speed / 1e6:.3g} million'
