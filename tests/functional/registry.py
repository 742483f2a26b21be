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

"""A private image registry, open or with a password, and a deceitful one."""

from http import server
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import fixtures

from tools.quickstart import images

USER, PASSWORD = 'user', 'right'
# docker-registry accepts bcrypt only; hash of PASSWORD with the lowest cost
_HASH = '$2b$04$2ze8sseD97pHlw1H8Mnn2.aWkUbWHfUJ5wv/msMmFRyj5i60.V7fy'

_CONFIG = '''\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {root}/data}}}}
http: {{addr: "{address}"}}
'''
_AUTH = 'auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n'


def free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as server:
        return server.getsockname()[1]


class Registry(fixtures.Fixture):
    """A running registry.

    Attributes: ``address``, such as 127.0.0.1:4711, for which containerd uses
    plain HTTP; ``digest`` of the image that was pushed last.
    """

    def __init__(self, password: bool = False) -> None:
        super().__init__()
        self._password = password

    def _setUp(self) -> None:
        root = pathlib.Path(tempfile.mkdtemp(prefix='kt-', dir='/tmp'))
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        self._root = root
        self.digest = ''
        port = free_port()
        self.address = f'127.0.0.1:{port}'
        text = _CONFIG + (_AUTH if self._password else '')
        (root / 'config.yml').write_text(
            text.format(root=root, address=self.address))
        (root / 'htpasswd').write_text(f'{USER}:{_HASH}\n')
        with (root / 'log').open('wb') as log:
            process = subprocess.Popen(
                ['docker-registry', 'serve', str(root / 'config.yml')],
                stdout=log, stderr=log)
        self.addCleanup(process.wait, 30)
        self.addCleanup(process.terminate)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(('127.0.0.1', port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or process.poll():
                    raise
                time.sleep(0.05)

    def manifest_size(self) -> int:
        """Bytes of the manifest of the image that was pushed last."""
        kind, _, value = self.digest.partition(':')
        return (self._root / 'data/docker/registry/v2/blobs' / kind
                / value[:2] / value / 'data').stat().st_size

    def push(self, archive: pathlib.Path, name: str) -> str:
        """Push a docker-archive.

        :returns: its reference in this registry
        """
        reference = f'{self.address}/{name}'
        credentials = (['--dest-creds', f'{USER}:{PASSWORD}']
                       if self._password else [])
        subprocess.run(
            ['skopeo', '--insecure-policy', 'copy', '--quiet',
             '--dest-tls-verify=false', *credentials,
             f'--digestfile={self._root}/digest',
             f'docker-archive:{archive}', f'docker://{reference}'],
            check=True, capture_output=True,
            env={**os.environ, **images.skopeo_environment(self._root)})
        self.digest = (self._root / 'digest').read_text().strip()
        return reference


class Deceiver(fixtures.Fixture):
    """A registry that knows the digest of a manifest, but has no content.

    Attributes: ``address``; ``requests``: methods and paths that it got.
    """

    def __init__(self, digest: str, size: int) -> None:
        super().__init__()
        self._digest = digest
        self._size = size

    def _setUp(self) -> None:
        requests: list[tuple[str, str]] = []
        headers = {
            'Content-Length': str(self._size),
            'Content-Type':
                'application/vnd.docker.distribution.manifest.v2+json',
            'Docker-Content-Digest': self._digest}

        class Handler(server.BaseHTTPRequestHandler):
            # An answer to TLS must begin like this, or containerd 2.1 does
            # not go on with HTTP.
            default_request_version = 'HTTP/1.0'

            def do_HEAD(self) -> None:
                requests.append(('HEAD', self.path))
                self.send_response(200)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()

            def do_GET(self) -> None:
                requests.append(('GET', self.path))
                self.send_response(200 if self.path == '/v2/' else 404)
                self.send_header('Content-Length', '0')
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.requests = requests
        listening = server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.addCleanup(listening.server_close)
        self.address = f'127.0.0.1:{listening.server_address[1]}'
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(listening.shutdown)
