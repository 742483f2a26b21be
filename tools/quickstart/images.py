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

"""Builds small images without a container tool and pushes them.

The images contain the distribution's busybox. Each is written as an OCI layout
(https://github.com/opencontainers/image-spec), which skopeo pushes.
"""

import gzip
import hashlib
import io
import json
import pathlib
import platform
import subprocess
import tarfile
from typing import Any

from tools.quickstart import databases
from tools.quickstart import process
from tools.quickstart import settings

BUSYBOX = pathlib.Path('/bin/busybox')
# Docker Hub's short names are below library/, so "busybox" means this image.
TEST_IMAGE = 'library/busybox:latest'
SANDBOX_IMAGE = 'sandbox:1'

FOLDERS = ('bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp', 'usr',
           'usr/bin', 'var', 'www')
FILES = {
    'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n'
                  'nobody:x:65534:65534:nobody:/:/bin/false\n',
    'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
    'www/index.html': 'hello from a VM of my own\n',
}

ARCHITECTURES = {'x86_64': 'amd64', 'aarch64': 'arm64'}


def layer() -> bytes:
    """A tar archive with busybox and a symlink for each of its commands."""
    names = subprocess.run([str(BUSYBOX), '--list'], capture_output=True,
                           text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:

        def add(name: str, mode: int, kind: bytes = tarfile.REGTYPE,
                content: bytes = b'', link: str = '') -> None:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.type, entry.linkname = mode, kind, link
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

        for folder in FOLDERS:
            add(folder, 0o1777 if folder == 'tmp' else 0o755, tarfile.DIRTYPE)
        add('bin/busybox', 0o755, content=BUSYBOX.read_bytes())
        for name in names:
            if name != 'busybox':
                add(f'bin/{name}', 0o777, tarfile.SYMTYPE, link='busybox')
        for name, text in FILES.items():
            add(name, 0o644, content=text.encode())
    return buffer.getvalue()


def write_layout(folder: pathlib.Path, config: dict[str, Any],
                 archive: bytes) -> None:
    """Write an OCI image layout with one image, tagged ``image``."""
    blobs = folder / 'blobs/sha256'
    blobs.mkdir(parents=True, exist_ok=True)

    def blob(content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {'mediaType': f'application/vnd.oci.image.{kind}',
                'digest': f'sha256:{digest}', 'size': len(content)}

    packed = blob(gzip.compress(archive, 6, mtime=0), 'layer.v1.tar+gzip')
    described = blob(json.dumps({
        'architecture': ARCHITECTURES.get(platform.machine(),
                                          platform.machine()),
        'os': 'linux',
        'config': config,
        'rootfs': {'type': 'layers', 'diff_ids': [
            'sha256:' + hashlib.sha256(archive).hexdigest()]},
    }).encode(), 'config.v1+json')
    manifest = blob(json.dumps({
        'schemaVersion': 2,
        'mediaType': 'application/vnd.oci.image.manifest.v1+json',
        'config': described, 'layers': [packed],
    }).encode(), 'manifest.v1+json')
    manifest['annotations'] = {'org.opencontainers.image.ref.name': 'image'}
    (folder / 'index.json').write_text(json.dumps(
        {'schemaVersion': 2, 'manifests': [manifest]}))
    (folder / 'oci-layout').write_text('{"imageLayoutVersion": "1.0.0"}')


def skopeo_environment(folder: pathlib.Path) -> dict[str, str]:
    """Environment that makes skopeo keep its blob cache in ``folder``.

    As root it uses /var/lib/containers, unless _CONTAINERS_ROOTLESS_UID says
    that another user runs it (blobinfocache/default.go of containers/image).
    """
    return {'XDG_DATA_HOME': str(folder), '_CONTAINERS_ROOTLESS_UID': '1'}


def push(stack: settings.Stack, folder: pathlib.Path, target: str,
         auth_file: pathlib.Path | None = None) -> None:
    """Push the image in ``folder`` to a registry.

    :param target: HOST:PORT/NAME:TAG
    """
    more = [f'--dest-authfile={auth_file}'] if auth_file else []
    process.run(stack, [
        'skopeo', '--insecure-policy', 'copy', '--dest-tls-verify=false',
        *more, f'oci:{folder}:image', f'docker://{target}'], 'images',
        skopeo_environment(stack.data))


def build_and_push(stack: settings.Stack) -> str | None:
    wanted = hashlib.sha256(
        BUSYBOX.read_bytes() + pathlib.Path(__file__).read_bytes()
    ).hexdigest()
    if databases.stamp(stack, 'images', wanted):
        return None
    archive = layer()
    environment = ['PATH=/bin:/usr/bin']
    for name, config in (
            (TEST_IMAGE, {'Env': environment, 'Cmd': ['sh']}),
            # containerd requires a sandbox image; a runtime that handles
            # the sandbox container itself never runs it
            (SANDBOX_IMAGE, {'Env': environment,
                             'Entrypoint': ['/bin/sleep', '2147483647']})):
        folder = stack.data / 'images' / name.replace(':', '_')
        write_layout(folder, config, archive)
        push(stack, folder, f'{stack.registry}/{name}')
    databases.set_stamp(stack, 'images', wanted)
    return f'{TEST_IMAGE} built and pushed to {stack.registry}'
