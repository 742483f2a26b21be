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

"""Runs all checks, each with its own time limit.

KVM's measurement and programs' versions come from the cache, see
:mod:`.cache`. Everything else is checked each time, so that a new device or
program is found at once.
"""

from collections.abc import Callable
import dataclasses
import functools
import logging
import pathlib
import platform
import time
from typing import Any

from kata_openstack.runtime.host import cache as caches
from kata_openstack.runtime.host.checks import cgroup
from kata_openstack.runtime.host.checks import containerd_api
from kata_openstack.runtime.host.checks import cpu
from kata_openstack.runtime.host.checks import devices
from kata_openstack.runtime.host.checks import instance
from kata_openstack.runtime.host.checks import iommu
from kata_openstack.runtime.host.checks import kata
from kata_openstack.runtime.host.checks import kvm
from kata_openstack.runtime.host.checks import memory
from kata_openstack.runtime.host.checks import modules
from kata_openstack.runtime.host.checks import programs
from kata_openstack.runtime.host.checks import tee
from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import limit
from kata_openstack.runtime.host import report as hosts
from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime.host import versions

LOG = logging.getLogger(__name__)

# Seconds for one check that reads files. Checks that start programs or call
# services have shorter limits of their own; KVM's is :data:`.kvm.TIMEOUT`.
LIMIT = 5.0
_HUNG = f'the check did not end within {LIMIT:g} s'
_REMEDY = ('Look in dmesg for a driver or a network file system that does '
           'not answer.')


def probe(roots: host_roots.Roots | None = None, *,
          cache: pathlib.Path | None = None, refresh: bool = False,
          measure: kvm.Measure = kvm.run_guest,
          architecture: str | None = None,
          containerd_client: containerd_api.Client | None = None,
          metadata: instance.Metadata | None = None) -> hosts.Host:
    """Check this host; takes about 0.1 s, or a few ms with the cache.

    :param roots: the folders to read; None for those of this host.
    :param cache: the file of :mod:`.cache`; None for no cache.
    :param refresh: measure KVM again even if the cache has a measurement.
    :param measure: runs the test guest; a recorded host passes its own.
    :param architecture: the architecture of a recorded host; None for this
        one's.
    :param containerd_client: the client to query; None to skip containerd.
    :param metadata: queries Nova's metadata service, see
        :func:`.instance.ask_metadata`; None to skip it.
    """
    begin = time.perf_counter()
    # each probe collects its own list
    roots = dataclasses.replace(roots or host_roots.Roots(), unreadable=[])
    boot_id = roots.read(
        roots.proc / 'sys/kernel/random/boot_id').strip()
    processor = _limited(roots, {
        'cpu': lambda: cpu.check(roots, architecture)})['cpu']
    key = caches.key(boot_id, roots)
    cached, known = caches.load(cache, key)
    before = (cached, dict(known))
    if cached is None or refresh:
        judged, cached = _judge(roots, processor, measure)
    else:
        judged = cached
    found = _limited(roots, _checks(roots, processor, judged, known, metadata))
    qemu, virtiofsd = found.pop('programs')
    if (cached, known) != before:
        caches.store(cache, key, cached, dict(known))
    host = hosts.Host(
        boot_id=boot_id, cpu=processor, kvm=judged, kata_root=roots.kata,
        qemu=qemu, virtiofsd=virtiofsd, vsock=modules.vsock(found['modules']),
        containerd=containerd_api.check(containerd_client),
        unreadable=tuple(roots.unreadable), **found,
        probe_seconds=time.perf_counter() - begin)
    _tell(host.unreadable)
    return host


def _checks(roots: host_roots.Roots, processor: facts.Cpu, judged: facts.Kvm,
            known: versions.Known, metadata: instance.Metadata | None,
            ) -> dict[str, Callable[[], Any]]:
    """Return the checks by the field of Host; ``programs`` fills two."""
    return {
        'mshv': lambda: devices.mshv(roots),
        'vhost_vsock': lambda: devices.vhost_vsock(roots),
        'vhost_net': lambda: devices.vhost_net(roots),
        'tun': lambda: devices.tun(roots),
        'peer_pods': lambda: devices.peer_pods(roots),
        'programs': lambda: programs.with_versions(
            (programs.qemu(roots, processor.architecture),
             programs.virtiofsd(roots)), known),
        'kata': lambda: kata.check(roots, known),
        'modules': lambda: modules.check(roots),
        'memory': lambda: memory.check(roots),
        'iommu': lambda: iommu.check(roots),
        'tee': lambda: tee.check(roots, processor),
        'cgroup': lambda: cgroup.check(roots),
        'instance': lambda: instance.check(roots, processor, judged,
                                           metadata),
    }


def _program(name: str) -> facts.Program:
    return facts.Program(name=name, path=None, reason=_HUNG, remedy=_REMEDY)


# The answers for checks that hang. All other checks return a Device.
_UNKNOWN: dict[str, Callable[[], Any]] = {
    'cpu': lambda: facts.Cpu(architecture=platform.machine()),
    'programs': lambda: [_program('qemu'), _program('virtiofsd')],
    'kata': tuple,
    'modules': modules.Modules,
    **{name: functools.partial(part, reason=_HUNG, remedy=_REMEDY)
       for name, part in (
           ('memory', memory.Memory), ('iommu', iommu.Iommu),
           ('tee', tee.Tee), ('cgroup', cgroup.Cgroup),
           ('instance', instance.Instance))},
}


def _unknown(name: str) -> Any:
    if name in _UNKNOWN:
        return _UNKNOWN[name]()
    return facts.Device(path=name, state=facts.DeviceState.BROKEN,
                        reason=_HUNG, remedy=_REMEDY)


def _limited(roots: host_roots.Roots, checks: dict[str, Callable[[], Any]],
             ) -> dict[str, Any]:
    """Run the checks; report one that hangs as unreadable."""
    answers = limit.run(checks, LIMIT)
    for name in checks.keys() - answers.keys():
        answers[name] = _unknown(name)
        roots.unreadable.append(f'the check of {name} hangs')
    return answers


def _judge(roots: host_roots.Roots, processor: facts.Cpu,
           measure: kvm.Measure) -> tuple[facts.Kvm, facts.Kvm | None]:
    """Return KVM's state, and the state to cache until the next boot or None.

    A good KVM can look emulated when the host is busy. A doubtful result is
    therefore measured a second time, and the better one is used and cached.
    A result of EMULATED is cached too, so that such a host does not have to
    measure KVM at each probe. A state without a measured speed is not
    cached.
    """
    first = kvm.check(roots, processor, measure)
    if not kvm.doubtful(first):
        measured = first.iterations_per_second is not None
        return first, first if measured else None
    second = kvm.check(roots, processor, measure)
    if second.iterations_per_second is None:
        return first, None
    better = max(first, second, key=lambda found: (
        found.usable, found.iterations_per_second or 0))
    return better, better


# Lines already logged; a node is probed many times.
_told: set[str] = set()


def _tell(lines: tuple[str, ...]) -> None:
    for line in lines:
        if line not in _told:
            _told.add(line)
            LOG.warning('%s; the probe continues without it', line)
