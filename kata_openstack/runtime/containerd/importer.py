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

"""Imports a small image into containerd without a registry.

The order is that of containerd's own import: first the blobs, under a lease
that protects them from the garbage collector, then the name. The CRI plugin
learns of the name by an event. The image is unpacked when a container is
created from it.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import json
import time
from typing import Any
import uuid

import grpc
from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import grpc_errors
from kata_openstack.runtime.containerd.protos import content_pb2
from kata_openstack.runtime.containerd.protos import content_pb2_grpc
from kata_openstack.runtime.containerd.protos import images_pb2
from kata_openstack.runtime.containerd.protos import images_pb2_grpc
from kata_openstack.runtime.containerd.protos import leases_pb2
from kata_openstack.runtime.containerd.protos import leases_pb2_grpc
from kata_openstack.runtime.containerd.protos import types_pb2

LOG = logging.getLogger(__name__)

MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
CONFIG = 'application/vnd.oci.image.config.v1+json'
LAYER = 'application/vnd.oci.image.layer.v1.tar'

# Seconds after which a lease expires, if this process ends before it deletes
# the lease. Work that takes long has them in addition.
_LEASE = 600
# Seconds until the CRI plugin must know an image; normally milliseconds.
_SEEN = 10.0


@dataclasses.dataclass(frozen=True)
class Image:
    """An OCI image: its full name, configuration (JSON), layers (tar).

    A layer may have 4 MiB at most, because it is sent in one message.
    """

    name: str
    config: bytes
    layers: tuple[bytes, ...]


@dataclasses.dataclass(frozen=True)
class _Blob:
    media_type: str
    data: bytes
    labels: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def digest(self) -> str:
        return f'sha256:{hashlib.sha256(self.data).hexdigest()}'

    def descriptor(self) -> types_pb2.Descriptor:
        return types_pb2.Descriptor(
            media_type=self.media_type, digest=self.digest,
            size=len(self.data))


def manifest_of(blobs: Sequence[types_pb2.Descriptor]
                ) -> tuple[bytes, dict[str, str]]:
    """Make the manifest of an image.

    :param blobs: the configuration, then the layers.
    :returns: the manifest, and labels for it, which keep the blobs from the
        garbage collector.
    """
    config, *layers = (
        {'mediaType': blob.media_type, 'digest': blob.digest,
         'size': blob.size} for blob in blobs)
    return (json.dumps({'schemaVersion': 2, 'mediaType': MANIFEST,
                        'config': config, 'layers': layers}).encode(),
            {f'containerd.io/gc.ref.content.{n}': blob.digest
             for n, blob in enumerate(blobs)})


class Importer:
    """Imports images on the channel of a CriClient; thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient) -> None:
        self._conf = conf.containerd
        self._client = client
        self._content = content_pb2_grpc.ContentStub(client.channel)
        self._images = images_pb2_grpc.ImagesStub(client.channel)
        self._leases = leases_pb2_grpc.LeasesStub(client.channel)

    def ensure(self, image: Image) -> None:
        """Import the image unless containerd's CRI plugin has it.

        :raises ContainerdUnavailable, RuntimeFailed:
        """
        if self._known(image.name):
            return
        children = [_Blob(CONFIG, image.config),
                    *(_Blob(LAYER, layer) for layer in image.layers)]
        manifest = _Blob(MANIFEST, *manifest_of(
            [blob.descriptor() for blob in children]))
        with self.lease() as lease:
            for blob in (*children, manifest):
                self._write(blob, lease)
            self.name(image.name, manifest.digest, len(manifest.data))
        self.wait(image.name)

    def _known(self, name: str) -> bool:
        return self._client.image_status(name).HasField('image')

    def call(self, method: Callable[..., Any], request: Any, operation: str,
             ident: str, lease: str = '', timeout: float | None = None
             ) -> Any:
        """Call containerd in its namespace for CRI.

        :param lease: keeps what the call creates
        :param timeout: seconds; default: ``[containerd] timeout``
        :returns: the answer, None if the object already exists
        :raises ContainerdUnavailable, NotFound, RuntimeFailed:
        """
        metadata = [('containerd-namespace', self._conf.namespace)]
        if lease:
            metadata.append(('containerd-lease', lease))
        try:
            return method(request, timeout=timeout or self._conf.timeout,
                          metadata=metadata)
        except grpc.RpcError as e:
            if e.code() == grpc.StatusCode.ALREADY_EXISTS:
                return None
            raise grpc_errors.translate(e, operation, self._conf.address,
                                        'Image', ident) from e

    @contextlib.contextmanager
    def lease(self, seconds: float = 0) -> Iterator[str]:
        """Keep from the garbage collector what is written meanwhile.

        After an error, containerd has removed it when this returns.

        :param seconds: that the work may take
        """
        ident = f'kata-openstack-{uuid.uuid4()}'
        until = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(
            time.time() + _LEASE + seconds))
        self.call(self._leases.Create, leases_pb2.CreateRequest(
            id=ident, labels={'containerd.io/gc.expire': until}),
            'Creating a lease', ident)
        try:
            yield ident
        except BaseException:
            try:
                self._delete(ident, sync=True)
            except exception.KataError as e:
                LOG.warning('The lease %s stays in containerd: %s', ident, e)
            raise
        self._delete(ident)

    def _delete(self, lease: str, sync: bool = False) -> None:
        self.call(self._leases.Delete, leases_pb2.DeleteRequest(
            id=lease, sync=sync), 'Deleting a lease', lease)

    def hold(self, lease: str, kind: str, ident: str) -> None:
        """Keep an object also, if it exists.

        :param kind: 'content' or 'snapshots/' with the snapshotter
        """
        self.call(self._leases.AddResource, leases_pb2.AddResourceRequest(
            id=lease, resource=leases_pb2.Resource(id=ident, type=kind)),
            'Holding an object', ident)

    def _write(self, blob: _Blob, lease: str) -> None:
        request = content_pb2.WriteContentRequest(
            action=content_pb2.COMMIT, ref=f'{lease}-{blob.digest}',
            total=len(blob.data), expected=blob.digest, data=blob.data,
            labels=blob.labels)
        # containerd answers each message of the stream, and stores the blob
        # after the last
        self.call(lambda stream, **options: list(
            self._content.Write(iter([stream]), **options)),
            request, 'Writing an image', blob.digest, lease)

    def name(self, name: str, digest: str, size: int) -> None:
        """Create the image record.

        The CRI plugin only reads the record on an event of its creation, so
        create an existing one again.

        :param digest: of the manifest
        """
        request = images_pb2.CreateImageRequest(image=images_pb2.Image(
            name=name, target=types_pb2.Descriptor(
                media_type=MANIFEST, digest=digest, size=size)))
        operation = 'Creating an image'
        if self.call(self._images.Create, request, operation, name) is None:
            self.call(self._images.Delete, images_pb2.DeleteImageRequest(
                name=name), 'Deleting an image', name)
            self.call(self._images.Create, request, operation, name)

    def forget(self, name: str) -> None:
        """Remove an image record. Idempotent; never raises."""
        try:
            self.call(self._images.Delete, images_pb2.DeleteImageRequest(
                name=name), 'Deleting an image', name)
        except exception.NotFound:
            pass
        except exception.KataError as e:
            LOG.warning('The image %s stays in containerd: %s', name, e)

    def wait(self, name: str) -> None:
        """Wait until the CRI plugin knows an image.

        :raises RuntimeFailed: it does not
        """
        end = time.monotonic() + _SEEN
        while not self._known(name):
            if time.monotonic() > end:
                raise exception.RuntimeFailed(
                    operation=f'Importing the image {name}',
                    why="containerd has the image, but its CRI plugin did "
                        f'not read it within {_SEEN:g} s')
            time.sleep(0.01)
