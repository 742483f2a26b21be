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

"""Copies from and to a container that does not run, on the host."""

import contextlib
import json
import os
import subprocess
import sys
import time
from typing import Any

from kata_openstack.compute.archives import spool
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import lifecycle
from kata_openstack.compute.pods import replacement
from kata_openstack.compute.pods import view
from kata_openstack.compute.pods import volumes
from kata_openstack import exception
from kata_openstack.runtime.archives import host_child
from kata_openstack.runtime.archives import work
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

_MAX_TOLD = 64 * 1024


class Idle:
    """The files of containers that do not run. Thread-safe."""

    def __init__(self, client: cri.CriClient, native_: native.NativeClient,
                 pods: lifecycle.Pods, spools: spool.Spools) -> None:
        self._client = client
        self._native = native_
        self._pods = pods
        self._spools = spools

    def run(self, container: pb.Container, order: work.Order,
            archive: spool.Spool, seconds: int) -> Any:
        """Pack into a spool, or unpack it.

        The caller holds the lock of the pod: a start mounts the same files.

        :returns: the outcome, as the child tells it.
        :raises Conflict: another container of the pod runs, or another
            operation waits for the pod.
        :raises Unsupported: the host must not mount these files.
        :raises RuntimeFailed, NodeBusy, NotEnoughDisk:
        """
        current = self._settled(container)
        spec = self._native.spec(current.id)
        folders = volumes.folders(self._native, current.id)
        mounts = {volumes.normalise(mount['destination']):
                  mount.get('options') or ()
                  for mount in spec.get('mounts') or ()}
        return self._child({
            'order': order._asdict(),
            'root': self._root(current.id),
            'volumes': [(path, folders[path],
                         'ro' in mounts.get(path, ()))
                        for path in sorted(folders)],
            'mounts': sorted(mounts),
            'hidden': sorted(mounts.keys() - folders.keys()),
            'point': str(self._spools.folder()),
            'readonly': bool((spec.get('root') or {}).get('readonly')),
            'seconds': seconds, 'parent': os.getpid()}, order.put, archive,
            seconds, container)

    def _settled(self, container: pb.Container) -> pb.Container:
        """Return the CRI container that has the files, at rest."""
        pod_uuid = container.labels[labels.POD]
        uuid = container.labels[labels.CONTAINER]
        found = view.read(self._client, pod_uuid)
        siblings = [c for c in found.containers
                    if c.labels.get(labels.CONTAINER) == uuid] if found else []
        if found is None or not siblings:
            raise exception.NotFound(kind='Container', id=uuid)
        current = siblings[-1]
        if found.ready and current.state != pb.CONTAINER_CREATED:
            if not found.ended:
                raise exception.Conflict(
                    kind='Container', id=uuid, state='stopped, but other '
                    'containers of its pod still run',
                    remedy='Stop them first.')
            # its VM may still have the files
            self._client.stop_pod_sandbox(found.sandbox.id)
        disk = labels.number(current.annotations, labels.DISK_GIB)
        if disk:
            self._pods.disks.mount(pod_uuid, uuid)
        replacement.Replacement(self._client, self._native).settle(siblings)
        if disk:
            self._pods.disks.attach(pod_uuid, uuid, current.id)
        return current

    def _root(self, container_id: str) -> list[dict[str, Any]]:
        """:raises Unsupported: the root is a tenant's block device, say"""
        found = self._native.mounts(container_id)
        for mount in found:
            if (mount.type != 'overlay'
                    and not {'bind', 'rbind'} & set(mount.options)):
                raise exception.Unsupported(
                    operation='cp with a stopped container of this '
                              'snapshotter',
                    remedy='Start the container first, or use the overlayfs '
                           'snapshotter for the handler.')
        return [{'type': mount.type, 'source': mount.source,
                 'options': list(mount.options)} for mount in found]

    def _child(self, arguments: dict[str, Any], put: bool,
               archive: spool.Spool, seconds: int,
               container: pb.Container) -> Any:
        archive.file.seek(0)
        # the child gets no more of the environment than Python needs
        env = {name: os.environ[name] for name in ('PATH', 'PYTHONPATH')
               if name in os.environ}
        child = subprocess.Popen(
            [sys.executable, '-P', '-m', host_child.__name__,
             json.dumps(arguments)], cwd='/', env=env,
            stdin=archive.file if put else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if put else archive.file,
            stderr=subprocess.PIPE)
        assert child.stderr
        try:
            self._wait(child, put, time.monotonic() + seconds, container)
            told = child.stderr.read(_MAX_TOLD)
        finally:
            child.kill()
            child.wait()
            child.stderr.close()
        try:
            return json.loads(told)
        except ValueError:
            lines = told.decode(errors='replace').strip().splitlines()
            return {'failed': (lines or ['it was killed'])[-1]}

    def _wait(self, child: 'subprocess.Popen[bytes]', put: bool,
              deadline: float, container: pb.Container) -> None:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.2)
                return
            self._pods.interrupts.check(
                container.labels[labels.CONTAINER],
                container.labels[labels.POD])
            if time.monotonic() > deadline:
                raise exception.RuntimeFailed(
                    operation='Copying files', why='it takes too long')
            if not put:
                self._spools.check_room()
