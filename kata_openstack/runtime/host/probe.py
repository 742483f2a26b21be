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

"""Runs all checks and keeps what took time to find out.

Only two things take time worth saving. KVM's measurement changes only with
the boot, the device node or our own rights: those are its key in the cache.
A program's version changes only with its file. Everything else is looked at
anew each time, so that a device or a program that appears is seen at once.
"""

import dataclasses
import json
import logging
import os
import pathlib
import tempfile
import time
from typing import Any

from kata_openstack.runtime.host import cgroup
from kata_openstack.runtime.host import containerd
from kata_openstack.runtime.host import cpu
from kata_openstack.runtime.host import devices
from kata_openstack.runtime.host import facts
from kata_openstack.runtime.host import host as hosts
from kata_openstack.runtime.host import instance
from kata_openstack.runtime.host import iommu
from kata_openstack.runtime.host import kata
from kata_openstack.runtime.host import kvm
from kata_openstack.runtime.host import memory
from kata_openstack.runtime.host import modules
from kata_openstack.runtime.host import programs
from kata_openstack.runtime.host import roots as host_roots
from kata_openstack.runtime.host import tee
from kata_openstack.runtime.host import versions

LOG = logging.getLogger(__name__)

_CACHE_FORMAT = 3


def probe(roots: host_roots.Roots | None = None, *,
          cache: pathlib.Path | None = None, refresh: bool = False,
          measure: kvm.Measure = kvm.run_guest,
          architecture: str | None = None,
          containerd_client: containerd.Client | None = None,
          metadata: instance.Metadata | None = None) -> hosts.Host:
    """Look at this host; takes some 0.1 s, or a few ms from the cache.

    :param roots: where to look; None for the host itself.
    :param cache: file that keeps what took time; None for no cache.
    :param refresh: measure again and replace what is in the cache.
    :param measure: runs the test guest; a recorded host brings its own.
    :param architecture: of a recorded host.
    :param containerd_client: tells about containerd; None to leave it out.
    :param metadata: asks Nova's metadata service, see
        :func:`.instance.ask_metadata`; None not to ask.
    """
    begin = time.perf_counter()
    # a probe's complaints are its own
    roots = dataclasses.replace(roots or host_roots.Roots(), unreadable=[])
    boot_id = roots.read(
        roots.proc / 'sys/kernel/random/boot_id').strip()
    processor = cpu.check(roots, architecture)
    key = _key(boot_id, roots)
    cached, known = _load(cache, key)
    before = (cached, dict(known))
    if cached is None or refresh:
        judged, cached = _judge(roots, processor, measure)
    else:
        judged = cached
    found = modules.check(roots)
    qemu, virtiofsd = programs.with_versions(
        (programs.qemu(roots, processor.architecture),
         programs.virtiofsd(roots)), known)
    shims = kata.check(roots, known)
    if (cached, known) != before:
        _store(cache, key, cached, known)
    host = hosts.Host(
        boot_id=boot_id, cpu=processor, kvm=judged,
        mshv=devices.mshv(roots),
        vhost_vsock=devices.vhost_vsock(roots),
        vhost_net=devices.vhost_net(roots),
        tun=devices.tun(roots),
        peer_pods=devices.peer_pods(roots),
        qemu=qemu, virtiofsd=virtiofsd,
        kata_root=roots.kata, kata=shims,
        modules=found, vsock=modules.vsock(found),
        memory=memory.check(roots), iommu=iommu.check(roots),
        tee=tee.check(roots, processor), cgroup=cgroup.check(roots),
        instance=instance.check(roots, processor, judged, metadata),
        containerd=containerd.check(containerd_client),
        unreadable=tuple(roots.unreadable),
        probe_seconds=time.perf_counter() - begin)
    _tell(host.unreadable)
    return host


def _judge(roots: host_roots.Roots, processor: facts.Cpu,
           measure: kvm.Measure) -> tuple[facts.Kvm, facts.Kvm | None]:
    """KVM's state; and again if it is worth keeping until the next boot.

    A busy moment makes a good KVM look emulated, so that is measured twice
    at once. If both agree, it is kept: a host that interprets guest code
    need not do so at each probe.
    """
    first = kvm.check(roots, processor, measure)
    if first.state != facts.KvmState.EMULATED:
        measured = first.iterations_per_second is not None
        return first, first if measured else None
    second = kvm.check(roots, processor, measure)
    if second.iterations_per_second is None:
        return first, None
    better = max(first, second, key=lambda found: (
        found.usable, found.iterations_per_second or 0))
    return better, better


# What was told already: a node is probed again and again.
_told: set[str] = set()


def _tell(lines: tuple[str, ...]) -> None:
    for line in lines:
        if line not in _told:
            _told.add(line)
            LOG.warning('%s; the probe goes on without it.', line)


def _key(boot_id: str, roots: host_roots.Roots) -> list[Any]:
    """What KVM's answer depends on; loading a module makes a new node."""
    try:
        node = (roots.dev / 'kvm').stat()
        device: list[int | None] = [
            node.st_rdev, node.st_mode, node.st_uid, node.st_gid,
            node.st_ctime_ns]
    except OSError as e:
        device = [e.errno]
    return [_CACHE_FORMAT, boot_id, os.geteuid(), *device]


def _load(cache: pathlib.Path | None, key: list[Any],
          ) -> tuple[facts.Kvm | None, versions.Known]:
    """KVM's measurement if it was made for ``key``; and known versions."""
    if cache is None:
        return None, {}
    try:
        content = json.loads(cache.read_text())
        known = {str(k): str(v) for k, v in content['versions'].items()}
        if content['key'] != key or content['kvm'] is None:
            return None, known
        values = dict(content['kvm'])
        values['state'] = facts.KvmState(values['state'])
        return facts.Kvm(**values), known
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        LOG.warning('The cache %s is not usable (%s); KVM is measured '
                    'again.', cache, e)
        return None, {}


def _store(cache: pathlib.Path | None, key: list[Any],
           judged: facts.Kvm | None, known: versions.Known) -> None:
    """Replace the cache in one step; without it, only time is lost."""
    if cache is None or not (judged or known):
        return
    content = {'key': key, 'versions': known,
               'kvm': dataclasses.asdict(judged) if judged else None}
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
                'w', dir=cache.parent, prefix=cache.name, delete=False) as f:
            json.dump(content, f)
        os.replace(f.name, cache)
    except OSError as e:
        LOG.debug('The cache %s cannot be written: %s', cache, e)
