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

"""Archives of container images, in the forms that tools write."""

import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

from kata_openstack.runtime.containerd.image_archive import contents

Files = dict[str, bytes | tarfile.TarInfo]
MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
INDEX = 'application/vnd.oci.image.index.v1+json'
LAYER = 'application/vnd.oci.image.layer.v1.tar'


def tar(files: Files, form: int = tarfile.GNU_FORMAT) -> bytes:
    """:param files: contents, or the headers of members without one"""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w', format=form) as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE
         ) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def layer(content: bytes = b'x') -> bytes:
    return tar({'file': content})


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config(layers: list[bytes], **values: Any) -> bytes:
    return json.dumps({
        'architecture': contents.architecture(), 'os': 'linux',
        'config': {'Cmd': ['sh']}, 'rootfs': {'type': 'layers', 'diff_ids': [
            f'sha256:{sha(data)}' for data in layers]}, **values}).encode()


def saved(layers: list[bytes], **values: Any) -> Files:
    """As docker save wrote before release 25; equal layers are links."""
    data = config(layers, **values)
    files: Files = {f'{sha(data)}.json': data}
    first: dict[bytes, str] = {}
    paths = []
    for number, content in enumerate(layers):
        path = f'{number:064x}/layer.tar'
        files[path] = (link(path, f'../{first[content]}')
                       if content in first else content)
        first.setdefault(content, path)
        paths.append(path)
    files['manifest.json'] = json.dumps([{
        'Config': f'{sha(data)}.json', 'RepoTags': ['x:1'],
        'Layers': paths}]).encode()
    return files


def layout(layers: list[bytes], packed: bool = False, **values: Any
           ) -> Files:
    """An OCI layout."""
    data = config(layers, **values)
    files: Files = {'oci-layout': b'{"imageLayoutVersion": "1.0.0"}'}
    blobs = [gzip.compress(content, mtime=0) if packed else content
             for content in layers]
    manifest = json.dumps({
        'schemaVersion': 2, 'mediaType': MANIFEST,
        'config': blob(files, data, 'application/vnd.oci.image.config.v1+json'),
        'layers': [blob(files, content, LAYER + '+gzip' * packed)
                   for content in blobs]}).encode()
    index(files, [blob(files, manifest, MANIFEST)])
    return files


def hybrid(layers: list[bytes]) -> Files:
    """As docker save writes since release 25."""
    data = config(layers)
    files = layout(layers)
    files['manifest.json'] = json.dumps([{
        'Config': f'blobs/sha256/{sha(data)}', 'RepoTags': ['x:1'],
        'Layers': [f'blobs/sha256/{sha(content)}' for content in layers],
    }]).encode()
    # of another architecture, whose blobs are not there
    index(files, [{'mediaType': MANIFEST, 'digest': 'sha256:' + '1' * 64,
                   'size': 1}])
    return files


def blob(files: Files, data: bytes, kind: str, **more: Any
         ) -> dict[str, Any]:
    """Add a blob, and return its descriptor."""
    files[f'blobs/sha256/{sha(data)}'] = data
    return {'mediaType': kind, 'digest': f'sha256:{sha(data)}',
            'size': len(data), **more}


def index(files: Files, manifests: list[dict[str, Any]]) -> bytes:
    files['index.json'] = data = json.dumps({
        'schemaVersion': 2, 'manifests': manifests}).encode()
    return data
