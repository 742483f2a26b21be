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

"""Copies files from and to containers, as "appcontainer cp" does.

An archive takes several requests, because it is larger than one may be. It is
a spool on disk between them: packing needs one request, then others read the
parts. For the other direction, requests write the parts, and one unpacks.
"""

import base64
import binascii
from collections.abc import Callable
import functools
from typing import Any

from oslo_config import cfg
from oslo_utils import units

from kata_openstack.compute.archives import answers
from kata_openstack.compute.archives import idle
from kata_openstack.compute.archives import in_guest
from kata_openstack.compute.archives import spool
from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import lifecycle
from kata_openstack.compute import rpcapi
from kata_openstack import exception
from kata_openstack.runtime.archives import work
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

_SECONDS = 600  # of packing or unpacking
_MAX_UNPACKED = 4 * units.Gi


class Copying:
    """Archives of containers' files. Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 native_: native.NativeClient, pods: lifecycle.Pods,
                 containers_: containers.Containers,
                 spools: spool.Spools) -> None:
        self._conf = conf
        self._pods = pods
        self._containers = containers_
        self._spools = spools
        self._idle = idle.Idle(client, native_, pods, spools)

    def pack(self, project: str | None, container_uuid: str, path: str,
             limit_mib: int) -> dict[str, Any]:
        """Pack a path of a container.

        :returns: ``archive_id``, ``size``, and ``stat``: its name, size,
            mode, mtime and linkTarget as in Docker's API.
        :raises InvalidInput: the path does not exist, or is too large.
        :raises Conflict, Unsupported: not with a container of this state.
        :raises NotFound, NodeBusy, NotEnoughDisk, RuntimeFailed:
        """
        self._containers.find(container_uuid)
        limit = min(limit_mib * units.Mi, spool.MAX_SIZE)
        archive = self._spools.open(project, container_uuid)
        try:
            with self._spools.use(archive.id, project, container_uuid):
                stat = self._run(container_uuid, archive, functools.partial(
                    work.Order, False, path, limit))
                return {'archive_id': archive.id, 'size': archive.size(),
                        'stat': stat}
        except BaseException:
            self._spools.close(archive.id, project, container_uuid)
            raise

    def read(self, project: str | None, container_uuid: str, archive_id: str,
             offset: int) -> str:
        """Return a part of an archive in base64; '' at its end.

        :raises Conflict: there is no such archive.
        """
        with self._spools.use(archive_id, project, container_uuid) as archive:
            return base64.b64encode(
                archive.read(offset, rpcapi.ARCHIVE_PART)).decode()

    def open(self, project: str | None, container_uuid: str) -> str:
        """Begin with an archive to unpack; return its ID.

        :raises NotFound, NodeBusy, NotEnoughDisk:
        """
        self._containers.find(container_uuid)
        return self._spools.open(project, container_uuid).id

    def write(self, project: str | None, container_uuid: str,
              archive_id: str, offset: int, data: str) -> None:
        """Append a part.

        :param offset: where it begins; the end of the former part.
        :raises InvalidInput: it is no base64, or not the next part, or the
            archive is too large.
        :raises Conflict, NodeBusy, NotEnoughDisk:
        """
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise exception.InvalidInput(
                field='archive', value='data', why='it is not in base64',
                remedy='Copy the files again.') from None
        with self._spools.use(archive_id, project, container_uuid) as archive:
            size = archive.size()
            if offset != size:
                raise exception.InvalidInput(
                    field='offset', value=offset, why='the next part begins '
                    f'at {size}', remedy='Copy the files again.')
            if size + len(raw) > spool.MAX_SIZE:
                raise exception.InvalidInput(
                    field='archive', value='data', why='it has more than '
                    f'{spool.MAX_SIZE // units.Mi} MiB',
                    remedy='Copy the files in several smaller archives.')
            self._spools.check_room(len(raw))
            archive.append(raw)

    def unpack(self, project: str | None, container_uuid: str,
               archive_id: str, path: str) -> None:
        """Unpack an archive into a folder of a container.

        :raises InvalidInput: the archive is damaged, or there is no such
            folder.
        :raises Conflict, Unsupported: not with a container of this state.
        :raises NotFound, RuntimeFailed:
        """
        with self._spools.use(archive_id, project, container_uuid) as archive:
            self._run(container_uuid, archive, functools.partial(
                work.Order, True, path, _MAX_UNPACKED))

    def close(self, project: str | None, container_uuid: str,
              archive_id: str) -> None:
        """Remove an archive. Idempotent."""
        self._spools.close(archive_id, project, container_uuid)

    def _run(self, container_uuid: str, archive: spool.Spool,
             order: Callable[..., work.Order]) -> dict[str, Any]:
        """:param order: lacks only ``keep_free``"""
        container = self._containers.find(container_uuid)
        if container.state != pb.CONTAINER_RUNNING:
            with self._pods.lock(container.labels[labels.POD]):
                container = self._containers.find(container_uuid)
                if container.state != pb.CONTAINER_RUNNING:
                    return answers.checked(self._idle.run(
                        container, order(self._keep_free(container)), archive,
                        _SECONDS), container_uuid)
        self._containers.refuse_paused(container)
        try:
            outcome = in_guest.Copy(
                self._conf, container, _SECONDS, self._pods.interrupts).run(
                    order(), archive, self._spools)
        except exception.NotFound:
            # it has just ended
            raise exception.Conflict(
                kind='Container', id=container_uuid, state='about to stop',
                remedy='Copy the files again when it is stopped.') from None
        return answers.checked(outcome, container_uuid)

    def _keep_free(self, container: pb.Container) -> int:
        """Return how much must stay free on the container's file system.

        A running container writes what it wants, with or without copies.
        """
        if labels.number(container.annotations, labels.DISK_GIB):
            return 0  # it is the container's own
        return self._conf.compute.min_free_disk_mib * units.Mi
