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

"""What the archive of a container image holds.

Two forms are read: that of ``docker save`` (manifest.json), of any release of
Docker, and OCI's image layout (index.json). Newer releases of Docker write
both into one archive; then manifest.json counts, because the index may name
images of other architectures that are not in the archive.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import platform
import re
from typing import Any

from oslo_utils import units

from kata_openstack.runtime.archives import tar_headers
from kata_openstack.runtime.containerd.image_archive import tar_index

NotAnImage = tar_index.NotAnImage

_MOST_JSON = 4 * units.Mi
_MOST_LAYERS = 127  # as Docker
_MOST_INDEXES = 4  # within each other
_DIGEST = re.compile(r'sha256:[0-9a-f]{64}')
_BLOB = re.compile(r'blobs/sha256/([0-9a-f]{64})')
_CONFIG_NAME = re.compile(r'(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?')
_INDEXES = ('application/vnd.oci.image.index.v1+json',
            'application/vnd.docker.distribution.manifest.list.v2+json')
# Not encrypted, and nothing to download
_LAYER_TYPE = re.compile(r'application/vnd\.(?:oci\.image\.layer\.v1\.tar|'
                         r'docker\.image\.rootfs\.diff\.tar)'
                         r'(?:[.+](?:gzip|zstd))?')
_COMPRESSIONS = ('gzip', 'zstd')  # of layers
_ARCHITECTURES = {'x86_64': 'amd64', 'aarch64': 'arm64'}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer in the archive.

    ``diff_id``: the digest that its uncompressed bytes must have; ``digest``:
    the one of the bytes in the archive, '' if nothing tells it;
    ``compression``: '', 'gzip' or 'zstd'.
    """

    member: tar_index.Member
    diff_id: str
    digest: str
    compression: str


@dataclasses.dataclass(frozen=True)
class Contents:
    """An image: its configuration (JSON) and layers, the lowest first."""

    config: bytes
    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """The number of bytes in the archive."""
        members = {layer.member for layer in self.layers}
        return len(self.config) + sum(member.size for member in members)


def architecture() -> str:
    """Return the architecture of this host, as images name it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def read(archive: tar_index.TarIndex) -> Contents:
    """Return the image in an archive.

    The digests of manifests and of the configuration were compared with
    their content, those of layers not yet.

    :raises NotAnImage: there is no image of this architecture, or several
    """
    if 'manifest.json' in archive:
        config, layers = _saved(archive)
    elif 'index.json' in archive:
        config, layers = _layout(archive)
    else:
        raise NotAnImage('it has neither manifest.json nor index.json')
    diff_ids = _diff_ids(config, len(layers))
    return Contents(config, tuple(
        _layer(archive, member, diff_id, digest)
        for (member, digest), diff_id in zip(layers, diff_ids, strict=True)))


_Layers = list[tuple[tar_index.Member, str]]


def _saved(archive: tar_index.TarIndex) -> tuple[bytes, _Layers]:
    """Read what "docker save" wrote."""
    images = _json(archive.read(archive.find('manifest.json'), _MOST_JSON,
                                'manifest.json'), 'manifest.json', list)
    if len(images) != 1:
        raise NotAnImage(f'it has {len(images)} images, not one')
    image = _typed(images[0], dict, 'manifest.json')
    path = _typed(image.get('Config'), str, 'Config in manifest.json')
    config = archive.read(archive.find(path), _MOST_JSON, 'configuration')
    named = _CONFIG_NAME.fullmatch(path)
    if named:
        _verify(config, f'sha256:{named[1]}', 'configuration')
    layers: _Layers = []
    for path in _typed(image.get('Layers'), list, 'Layers in manifest.json'):
        blob = _BLOB.fullmatch(_typed(path, str, 'layer in manifest.json'))
        layers.append((archive.find(path), f'sha256:{blob[1]}' if blob
                       else ''))
    return config, layers


def _layout(archive: tar_index.TarIndex) -> tuple[bytes, _Layers]:
    """Read an OCI layout."""
    index = _json(archive.read(archive.find('index.json'), _MOST_JSON,
                               'index.json'), 'index.json', dict)
    for _ in range(_MOST_INDEXES):
        found = _ours(index)
        data = _blob(archive, found, 'manifest')
        index = _json(data, 'manifest', dict)
        if (found.get('mediaType') not in _INDEXES
                and index.get('mediaType') not in _INDEXES):
            break
    else:
        raise NotAnImage('its indexes are too deep within each other')
    config = _blob(archive, _typed(index.get('config'), dict, 'manifest'),
                   'configuration')
    layers: _Layers = []
    for item in _typed(index.get('layers'), list, 'manifest'):
        descriptor = _typed(item, dict, 'manifest')
        kind = _typed(descriptor.get('mediaType'), str, 'manifest')
        if not _LAYER_TYPE.fullmatch(kind):
            raise NotAnImage(f'a layer has the type {kind[:128]!r}')
        layers.append(_find(archive, descriptor))
    return config, layers


def _ours(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the descriptor of the image for this host."""
    wanted = architecture()
    found: dict[str, dict[str, Any]] = {}
    others = set()
    for item in _typed(index.get('manifests'), list, 'index'):
        descriptor = _typed(item, dict, 'index')
        named = _typed(descriptor.get('platform') or {}, dict, 'index')
        if (named.get('os', 'linux') == 'linux'
                and named.get('architecture', wanted) == wanted):
            found[str(descriptor.get('digest'))] = descriptor
        else:
            others.add(str(named.get('architecture'))[:32])
    if not found:
        raise NotAnImage(f'it has no image for linux/{wanted}' + (
            f', but for {", ".join(sorted(others)[:8])}' if others else ''))
    if len(found) > 1:
        raise NotAnImage(f'it has {len(found)} images, not one')
    return next(iter(found.values()))


def _find(archive: tar_index.TarIndex, descriptor: Mapping[str, Any]
          ) -> tuple[tar_index.Member, str]:
    digest = descriptor.get('digest')
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise NotAnImage('a digest in it is not sha256')
    member = archive.find('blobs/' + digest.replace(':', '/'))
    if descriptor.get('size') != member.size:
        raise NotAnImage(f'the size of {digest} is wrong')
    return member, digest


def _blob(archive: tar_index.TarIndex, descriptor: Mapping[str, Any],
          what: str) -> bytes:
    member, digest = _find(archive, descriptor)
    data = archive.read(member, _MOST_JSON, what)
    _verify(data, digest, what)
    return data


def _layer(archive: tar_index.TarIndex, member: tar_index.Member,
           diff_id: str, digest: str) -> Layer:
    start = archive.start(member, 8)
    compression = tar_headers.compression(start)
    if compression not in _COMPRESSIONS:
        compression = ''
    if not member.size:
        raise NotAnImage('a layer is empty')
    if not compression:
        if digest and digest != diff_id:
            raise NotAnImage('a layer is not the one that its configuration '
                             'names')
        digest = diff_id
    return Layer(member, diff_id, digest, compression)


def _diff_ids(config: bytes, count: int) -> list[str]:
    """Return the digests of the uncompressed layers."""
    what = 'configuration'
    found = _json(config, what, dict)
    wanted = architecture()
    system = found.get('os') or 'linux'
    machine = found.get('architecture') or wanted
    if (system, machine) != ('linux', wanted):
        raise NotAnImage(f'it is for {str(system)[:32]}/{str(machine)[:32]}, '
                         f'but the node is linux/{wanted}')
    root = _typed(found.get('rootfs'), dict, what)
    diff_ids = _typed(root.get('diff_ids'), list, what)
    if not all(isinstance(diff_id, str) and _DIGEST.fullmatch(diff_id)
               for diff_id in diff_ids):
        raise NotAnImage('a digest in it is not sha256')
    if len(diff_ids) != count:
        raise NotAnImage(f'its configuration names {len(diff_ids)} layers, '
                         f'its manifest {count}')
    if not 1 <= count <= _MOST_LAYERS:
        raise NotAnImage(f'it has {count} layers, not 1 to {_MOST_LAYERS}')
    return diff_ids


def _json(data: bytes, what: str, kind: type) -> Any:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise NotAnImage(f'its {what} is not JSON') from None
    return _typed(found, kind, what)


def _typed(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise NotAnImage(f'its {what} has an invalid form')
    return value


def _verify(data: bytes, digest: str, what: str) -> None:
    if f'sha256:{hashlib.sha256(data).hexdigest()}' != digest:
        raise NotAnImage(f'its {what} does not have the digest {digest}')
