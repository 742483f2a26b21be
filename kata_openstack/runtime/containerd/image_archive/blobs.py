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

"""Writes blobs into containerd's content store."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import hashlib

from google.protobuf import field_mask_pb2

from kata_openstack.runtime.containerd.image_archive import tar_index
from kata_openstack.runtime.containerd import importer
from kata_openstack.runtime.containerd.protos import content_pb2
from kata_openstack.runtime.containerd.protos import content_pb2_grpc

Chunks = Callable[[], Iterator[bytes]]


class BlobWriter:
    """Writes blobs on the channel of an importer. Thread-safe."""

    def __init__(self, importer_: importer.Importer,
                 stub: content_pb2_grpc.ContentStub) -> None:
        self._importer = importer_
        self._content = stub

    def write(self, lease: str, digest: str, size: int, chunks: Chunks,
              timeout: float, labels: Mapping[str, str] | None = None,
              watch: Callable[[], None] = lambda: None) -> None:
        """Write a blob, unless containerd has it.

        In any case all of it is read and its digest compared: that containerd
        has a blob does not prove that the caller has it.

        :param chunks: called for each reading of the content
        :param timeout: seconds
        :param watch: called for each chunk; its errors end the writing
        :raises NotAnImage: the content has another digest
        :raises ContainerdUnavailable, RuntimeFailed:
        """
        failed: list[Exception] = []

        def requests() -> Iterator[content_pb2.WriteContentRequest]:
            try:
                yield from _requests(f'{lease}-{digest}', digest, size,
                                     _checked(chunks, digest, watch))
            except Exception as e:
                # gRPC would log and hide it. Without a commit, nothing is
                # written.
                failed.append(e)

        def write(_: None, **options: float) -> list[object]:
            return list(self._content.Write(requests(), **options))

        try:
            written = self._importer.call(write, None, 'Writing an image',
                                          digest, lease, timeout)
        except Exception:
            if failed:
                raise failed[0] from None
            raise
        if failed:
            raise failed[0]
        if written is None:  # it is there already
            for _ in _checked(chunks, digest, watch):
                pass
        if labels:
            # those of a blob that was there stay without this
            self._importer.call(
                self._content.Update, content_pb2.UpdateRequest(
                    info=content_pb2.Info(digest=digest, labels=labels),
                    update_mask=field_mask_pb2.FieldMask(
                        paths=[f'labels.{key}' for key in labels])),
                'Writing an image', digest, lease)


def sha256(chunks: Chunks, watch: Callable[[], None]) -> str:
    """Return the digest of a content."""
    hasher = hashlib.sha256()
    for data in chunks():
        watch()
        hasher.update(data)
    return f'sha256:{hasher.hexdigest()}'


def _checked(chunks: Chunks, digest: str, watch: Callable[[], None]
             ) -> Iterator[bytes]:
    """Yield the content, the last chunk only if the digest is right.

    :raises NotAnImage: it is not
    """
    hasher = hashlib.sha256()
    last: bytes | None = None
    for data in chunks():
        watch()
        if last is not None:
            yield last
        hasher.update(data)
        last = data
    if f'sha256:{hasher.hexdigest()}' != digest:
        raise tar_index.NotAnImage(f'a file in it does not have the digest '
                                   f'{digest}')
    if last is not None:
        yield last


def _requests(ref: str, digest: str, size: int, chunks: Iterator[bytes]
              ) -> Iterator[content_pb2.WriteContentRequest]:
    offset = 0
    for data in chunks:
        request = content_pb2.WriteContentRequest(
            action=content_pb2.WRITE, offset=offset, data=data)
        if not offset:
            request.ref, request.total, request.expected = ref, size, digest
        offset += len(data)
        if offset == size:
            # The first message also has the digest; to compare it in each
            # would cost containerd a look-up each time.
            request.action = content_pb2.COMMIT
            request.total, request.expected = size, digest
        yield request
