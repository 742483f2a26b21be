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

"""Imports an image from an archive of a tenant into containerd.

Unlike :mod:`kata_openstack.runtime.containerd.importer` it unpacks the image,
as a pull does, so that its size and files are known before a container is
created. Nothing of the image may come from anywhere but the archive: a name
of a blob or layer of another image must not give its content.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import hashlib
import time
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.image_archive import blobs
from kata_openstack.runtime.containerd.image_archive import contents
from kata_openstack.runtime.containerd.image_archive import tar_index
from kata_openstack.runtime.containerd import importer
from kata_openstack.runtime.containerd.protos import content_pb2_grpc
from kata_openstack.runtime.containerd.protos import diff_pb2
from kata_openstack.runtime.containerd.protos import diff_pb2_grpc
from kata_openstack.runtime.containerd.protos import snapshots_pb2
from kata_openstack.runtime.containerd.protos import snapshots_pb2_grpc
from kata_openstack.runtime.containerd.protos import types_pb2

LOG = logging.getLogger(__name__)

_UNPACKING = 'Unpacking an image'


class ArchiveImporter:
    """Imports archives on the channels of a CriClient. Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient) -> None:
        self._timeout = conf.containerd.pull_timeout
        self._client = client
        self._importer = importer.Importer(conf, client)
        self._blobs = blobs.BlobWriter(
            self._importer, content_pb2_grpc.ContentStub(client.channel))
        self._snapshots = snapshots_pb2_grpc.SnapshotsStub(client.channel)
        self._diff = diff_pb2_grpc.DiffStub(client.plain_channel)

    def load(self, name: str, archive: tar_index.TarIndex,
             image: contents.Contents,
             watch: Callable[[], None] = lambda: None) -> str:
        """Import an image, or leave nothing of it.

        :param name: its new name
        :param watch: called again and again; its errors end the import
        :returns: the image's ID
        :raises NotAnImage: its layers are not what it says that they are
        :raises ImagePullFailed: containerd could not take or unpack them;
            the log has its words
        :raises ContainerdUnavailable, RuntimeFailed: it has all, but the
            image record may or may not follow
        """
        end = time.monotonic() + self._timeout

        def look() -> None:
            watch()
            if time.monotonic() > end:
                raise exception.RuntimeFailed(
                    operation=f'Importing the image {name}',
                    why=f'it took longer than {self._timeout} s')

        with self._importer.lease(self._timeout) as lease:
            work = _Import(self._importer, self._blobs, self._snapshots,
                           self._diff, lease, self._client.snapshotter(),
                           self._timeout, look)
            try:
                config, manifest = work.do(archive, image)
            except exception.RuntimeFailed as e:
                LOG.warning('Could not import %s: %s', name, ''.join(
                    c if c.isprintable() else '?' for c in str(e)))
                raise exception.ImagePullFailed(
                    image=name, why='the node could not unpack it') from None
            try:
                self._importer.name(name, manifest.digest, manifest.size)
                self._importer.wait(name)
            except BaseException:
                with contextlib.suppress(exception.KataError):
                    self._client.remove_image(name)
                self._importer.forget(name)
                raise
        return config.digest


class _Import:
    """The steps of one import."""

    def __init__(self, importer_: importer.Importer, blobs_: blobs.BlobWriter,
                 snapshots: snapshots_pb2_grpc.SnapshotsStub,
                 diff: diff_pb2_grpc.DiffStub, lease: str, snapshotter: str,
                 timeout: float, look: Callable[[], None]) -> None:
        self._importer = importer_
        self._blobs = blobs_
        self._snapshots = snapshots
        self._diff = diff
        self._lease = lease
        self._snapshotter = snapshotter
        self._timeout = timeout
        self._look = look
        # one member may be a layer several times
        self._written: dict[tar_index.Member, types_pb2.Descriptor] = {}

    def do(self, archive: tar_index.TarIndex, image: contents.Contents
           ) -> tuple[types_pb2.Descriptor, types_pb2.Descriptor]:
        """Do all but the image record.

        :returns: the configuration and the manifest
        """
        chain, layers = '', []
        for number, layer in enumerate(image.layers):
            blob = self._write(archive, layer)
            chain = self._unpack(f'{self._lease}-{number}', layer, blob,
                                 chain)
            layers.append(blob)
        return self._finish(image, chain, layers)

    def _write(self, archive: tar_index.TarIndex, layer: contents.Layer
               ) -> types_pb2.Descriptor:
        """Write a layer into the content store."""
        found = self._written.get(layer.member)
        if found is not None and layer.digest in ('', found.digest):
            return found

        def chunks() -> Iterator[bytes]:
            return archive.chunks(layer.member)

        digest = layer.digest or blobs.sha256(chunks, self._look)
        self._blobs.write(self._lease, digest, layer.member.size, chunks,
                          self._timeout, watch=self._look)
        kind = importer.LAYER + (layer.compression
                                 and f'+{layer.compression}')
        blob = types_pb2.Descriptor(media_type=kind, digest=digest,
                                    size=layer.member.size)
        self._written[layer.member] = blob
        return blob

    def _unpack(self, key: str, layer: contents.Layer,
                blob: types_pb2.Descriptor, parent: str) -> str:
        """Unpack a layer onto its parent.

        Layers of one chain ID have one content, so a chain that another
        image brought serves this one. But only the bytes of a layer prove
        its part of the ID: a compressed layer is always unpacked, because
        its digest is not the one in the ID.

        :param key: for the snapshot until it is complete
        :param parent: chain ID, '' for the lowest layer
        :returns: chain ID
        """
        chain = chain_id(parent, layer.diff_id)
        self._importer.hold(self._lease, f'snapshots/{self._snapshotter}',
                            chain)
        if not layer.compression and self._exists(chain):
            return chain
        prepared = self._call(self._snapshots.Prepare,
                              snapshots_pb2.PrepareSnapshotRequest(
                                  snapshotter=self._snapshotter, key=key,
                                  parent=parent))
        try:
            applied = self._call(
                cri.watched(self._diff.Apply, self._look),
                diff_pb2.ApplyRequest(diff=blob, mounts=prepared.mounts),
                self._timeout).applied
            if applied.digest != layer.diff_id:
                raise tar_index.NotAnImage(
                    'a layer is not the one that its configuration names')
            if self._call(self._snapshots.Commit,
                          snapshots_pb2.CommitSnapshotRequest(
                              snapshotter=self._snapshotter, name=chain,
                              key=key)) is None:
                self._remove(key)  # another import was faster
        except BaseException:
            with contextlib.suppress(exception.KataError):
                self._remove(key)
            raise
        return chain

    def _exists(self, chain: str) -> bool:
        try:
            self._call(self._snapshots.Stat,
                       snapshots_pb2.StatSnapshotRequest(
                           snapshotter=self._snapshotter, key=chain))
        except exception.NotFound:
            return False
        return True

    def _remove(self, key: str) -> None:
        self._call(self._snapshots.Remove,
                   snapshots_pb2.RemoveSnapshotRequest(
                       snapshotter=self._snapshotter, key=key))

    def _call(self, method: Callable[..., Any], request: Any,
              timeout: float | None = None) -> Any:
        return self._importer.call(method, request, _UNPACKING,
                                   self._snapshotter, self._lease, timeout)

    def _finish(self, image: contents.Contents, chain: str,
                layers: list[types_pb2.Descriptor]
                ) -> tuple[types_pb2.Descriptor, types_pb2.Descriptor]:
        """Write the configuration and a manifest.

        Their labels keep the layers from the garbage collector, packed and
        unpacked.

        :returns: both
        """
        config = self._small(importer.CONFIG, image.config, {
            f'containerd.io/gc.ref.snapshot.{self._snapshotter}': chain})
        manifest = self._small(
            importer.MANIFEST, *importer.manifest_of([config, *layers]))
        return config, manifest

    def _small(self, kind: str, data: bytes, labels: dict[str, str]
               ) -> types_pb2.Descriptor:
        digest = f'sha256:{hashlib.sha256(data).hexdigest()}'
        pieces = [data[start:start + tar_index.CHUNK]
                  for start in range(0, len(data), tar_index.CHUNK)]
        self._blobs.write(self._lease, digest, len(data),
                          lambda: iter(pieces), self._timeout, labels)
        return types_pb2.Descriptor(media_type=kind, digest=digest,
                                    size=len(data))


def chain_id(parent: str, diff_id: str) -> str:
    """Return the ID of a layer on others, as OCI's image-spec defines.

    :param parent: the ID of these, '' if there are none
    """
    if not parent:
        return diff_id
    both = hashlib.sha256(f'{parent} {diff_id}'.encode())
    return f'sha256:{both.hexdigest()}'
