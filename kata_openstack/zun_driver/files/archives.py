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

"""Copies files from and to containers: "openstack appcontainer cp"."""

import base64
from collections.abc import Iterator
import contextlib
import threading
from typing import Any

import zun.conf

from kata_openstack.compute import rpcapi
from kata_openstack import exception
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver import refusals

CONF = zun.conf.CONF
_MOST = 2  # copies at the same time: zun-compute holds archives in memory


class Archives:
    """A mixin; list it before Zun's ContainerDriver in the bases."""

    _turns = threading.BoundedSemaphore(_MOST)

    @errors.translated
    def get_archive(self, context: Any, container: Any, path: str
                    ) -> tuple[bytes, dict[str, Any]]:
        """Pack a path of a container.

        :returns: a tar archive, and name, size, mode, mtime and linkTarget
            of the path as in Docker's API.
        """
        refusals.refuse_uncreated(container)
        path = _checked(path)
        with self._turns:
            return self._pack(context, container, path)

    @staticmethod
    def _pack(context: Any, container: Any, path: str
              ) -> tuple[bytes, dict[str, Any]]:
        """:raises KataError:"""
        api, ctxt = client.api(), client.context(context)
        host, uuid = client.host(container), container.uuid
        packed = api.pack_archive(ctxt, host, uuid, path,
                                  CONF.kata_driver.max_archive_mib)
        data = bytearray()
        with _closing(ctxt, host, uuid, packed['archive_id']):
            while len(data) < packed['size']:
                part = base64.b64decode(api.read_archive(
                    ctxt, host, uuid, packed['archive_id'], len(data)))
                if not part:
                    raise exception.RuntimeFailed(
                        operation='get_archive',
                        why='the archive ends too early')
                data += part
        return bytes(data), packed['stat']

    @errors.translated
    def put_archive(self, context: Any, container: Any, path: str,
                    data: bytes | str) -> None:
        """Unpack a tar archive into an existing folder of a container."""
        refusals.refuse_uncreated(container)
        path = _checked(path)
        with self._turns:
            if isinstance(data, str):  # API before 1.25
                data = data.encode()
            self.unpack(context, container, path, data)

    @staticmethod
    def unpack(context: Any, container: Any, path: str, data: bytes) -> None:
        """:raises KataError:"""
        api, ctxt = client.api(), client.context(context)
        host, uuid = client.host(container), container.uuid
        archive = api.open_archive(ctxt, host, uuid)
        with _closing(ctxt, host, uuid, archive):
            for offset in range(0, len(data), rpcapi.ARCHIVE_PART):
                part = data[offset:offset + rpcapi.ARCHIVE_PART]
                api.write_archive(ctxt, host, uuid, archive, offset,
                                  base64.b64encode(part).decode())
            api.unpack_archive(ctxt, host, uuid, archive, path)


def _checked(path: str) -> str:
    """:raises InvalidInput: it names nothing."""
    if not path:
        raise exception.InvalidInput(
            field='path', value='', why='it is empty',
            remedy='Name a path in the container: <container>:<path>.')
    return str(path)


@contextlib.contextmanager
def _closing(ctxt: dict[str, Any], host: str, uuid: str, archive: str
             ) -> Iterator[None]:
    """Remove an archive from the node; if that fails, it expires there."""
    try:
        yield
    finally:
        with contextlib.suppress(exception.KataError):
            client.api().close_archive(ctxt, host, uuid, archive)
