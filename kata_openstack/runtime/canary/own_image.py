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

"""The canary's image, which holds one program: :mod:`.machine_code`.

The image is built here and not pulled, because a registry that is down says
nothing about a handler.
"""

import hashlib
import io
import json
import tarfile

from kata_openstack.runtime.canary import machine_code
from kata_openstack.runtime.containerd import importer

# The domain is reserved (RFC 6761), so no registry has such an image.
_NAME = 'kata-openstack.invalid/canary'

# As platform.machine() returns it. image() has the name that OCI uses.
ARCHITECTURE = 'x86_64'


def _layer() -> bytes:
    """Return a tar archive; its bytes are always the same."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as tar:
        for name in ('dev', 'proc', 'sys'):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        content = machine_code.program()
        file = tarfile.TarInfo('canary')
        file.size, file.mode = len(content), 0o755
        tar.addfile(file, io.BytesIO(content))
    return buffer.getvalue()


def image() -> importer.Image:
    """Return the image; its tag is a digest of its layer."""
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        'architecture': 'amd64', 'os': 'linux',
        'config': {'Entrypoint': ['/canary'], 'WorkingDir': '/'},
        'rootfs': {'type': 'layers', 'diff_ids': [f'sha256:{digest}']},
    }).encode()
    return importer.Image(name=f'{_NAME}:{digest[:12]}', config=config,
                          layers=(layer,))
