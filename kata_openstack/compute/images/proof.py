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

"""The proof that a registry has an image, not only its digest.

skopeo downloads all of the image, into a folder that is removed at once.
"""

import base64
import contextlib
import ipaddress
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any

from oslo_log import log as logging
from oslo_utils import units

from kata_openstack.compute.images import registry_hosts
from kata_openstack import exception
from kata_openstack import image_names
from kata_openstack.runtime.containerd import cri

LOG = logging.getLogger(__name__)


class Prover:
    """Lets registries prove that they have images. Thread-safe."""

    def __init__(self, client: cri.CriClient, folder: pathlib.Path,
                 timeout: float) -> None:
        """:param folder: for downloads; its content is removed

        :param timeout: seconds for a download
        """
        self._client = client
        self._folder = folder
        self._timeout = timeout
        shutil.rmtree(folder, ignore_errors=True)  # after a crash

    def prove(self, name: image_names.Name, image_id: str, size: int,
              auth: dict[str, Any] | None) -> None:
        """Download the image from the registry.

        :param size: of the image's files in the registry, in bytes
        :param auth: credentials as in :meth:`ComputeAPI.pull_image
            <kata_openstack.compute.rpcapi.ComputeAPI.pull_image>`
        :raises ImagePullFailed: if the registry does not have the image, or
            the node could not find out. The log has the cause, the error does
            not: a tenant must not learn what the node has.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            why = self._download(name, folder, size, auth)
            if not why:
                found = _image_id(pathlib.Path(folder))
                if found == image_id:
                    return
                why = f'it has the image {found}, not {image_id}'
        LOG.warning(
            'The registry of %s did not prove that it has the image, of '
            'which this node has a part from another repository: %s. If you '
            'trust the registry, make skopeo reach it: see '
            'containers-certs.d(5).',
            name, why)
        raise exception.ImagePullFailed(
            image=str(name), why='the node could not fetch or unpack it')

    def _download(self, name: image_names.Name, folder: str, size: int,
                  auth: dict[str, Any] | None) -> str:
        """Return why there is no image, '' if it is in the folder."""
        host = name.repository.partition('/')[0]
        # a registry may send any number of bytes
        argv = ['prlimit', f'--fsize={size + units.Mi}', 'skopeo',
                '--insecure-policy', '--tmpdir', folder]
        conf = registry_hosts.registries_conf(self._client, host)
        with contextlib.ExitStack() as files:
            fds = []
            if conf:
                fds.append(_in_memory(conf, files))
                argv += ['--registries-conf', f'/proc/self/fd/{fds[-1]}']
            # also without credentials: skopeo would look for those of root
            fds.append(_in_memory(json.dumps(_auth_file(host, auth)), files))
            argv += ['copy', '--quiet', '--remove-signatures',
                     '--src-authfile', f'/proc/self/fd/{fds[-1]}']
            if _is_loopback(host):
                argv.append('--src-tls-verify=false')  # as containerd does
            try:
                done = subprocess.run(
                    [*argv, f'docker://{name}', f'dir:{folder}'],
                    capture_output=True, pass_fds=fds,
                    timeout=self._timeout)
            except subprocess.TimeoutExpired:
                return f'skopeo did not end within {self._timeout:g} s'
        if not done.returncode:
            return ''
        text = done.stderr.decode('utf-8', 'replace').rpartition('msg=')[2]
        return ''.join(c if c.isprintable() else ' ' for c in text)[:500]


def _in_memory(text: str, files: contextlib.ExitStack) -> int:
    """Return an open file that exists in memory only.

    Each opening of its path in /proc starts at its begin.
    """
    file = files.enter_context(open(os.memfd_create('skopeo'), 'w'))
    file.write(text)
    file.flush()
    return file.fileno()


def _image_id(folder: pathlib.Path) -> str:
    """Return the ID of the image that skopeo wrote into a folder."""
    manifest = json.loads((folder / 'manifest.json').read_text())
    # a manifest of Docker's first schema has no configuration
    return str((manifest.get('config') or {}).get('digest'))


def _auth_file(host: str, auth: dict[str, Any] | None) -> dict[str, Any]:
    """Return what containers-auth.json(5) describes."""
    if not auth:
        return {'auths': {}}
    pair = f'{auth.get("username") or ""}:{auth.get("password") or ""}'
    return {'auths': {host: {
        'auth': base64.b64encode(pair.encode()).decode()}}}


def _is_loopback(host: str) -> bool:
    address = host.rpartition(':')[0] if ':' in host else host
    if address == 'localhost':
        return True
    try:
        return ipaddress.ip_address(address.strip('[]')).is_loopback
    except ValueError:
        return False
