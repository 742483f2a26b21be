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

"""Serves kata-cni, containerd's CNI plugin, on a Unix socket.

Each connection carries one request and one answer, each one line of JSON.
Only root and kata-compute's own user are served.
"""

import json
import os
import pathlib
import socket
import socketserver
import struct
import threading
from typing import Any

from oslo_log import log as logging
from oslo_utils import units

from kata_openstack.compute.network import plugging
from kata_openstack import exception

LOG = logging.getLogger(__name__)

# Error codes of the CNI specification; a plugin defines those from 100 on.
_TRY_AGAIN = 11
_FAILED = 100
_MAX_REQUEST = units.Mi
_READ_TIMEOUT = 10  # seconds


def answer(network_: plugging.Network, request: Any) -> dict[str, Any]:
    """Answer a CNI request. Never raises.

    :returns: {"result": {...}} or {"error": {...}}
    """
    command = None
    try:
        command = request['command']
        pod = str(request['args']['K8S_POD_UID'])
        sandbox = str(request['container_id'])
        if command == 'ADD':
            return {'result': network_.add(pod, sandbox,
                                           str(request['netns']))}
        if command == 'DEL':
            network_.delete(pod, sandbox)
            return {'result': {}}
        if command == 'CHECK':
            network_.check(pod, sandbox)
            return {'result': {}}
        return _error(_FAILED, f'Unknown CNI command {command!r}.')
    except exception.ContainerdUnavailable as e:
        return _error(_TRY_AGAIN, str(e))
    except exception.KataError as e:
        LOG.warning('CNI %s: %s', command, e)
        return _error(_FAILED, str(e))
    except (KeyError, TypeError) as e:
        return _error(_FAILED, f'Invalid CNI request: {e!r}.')
    except Exception as e:
        LOG.exception('CNI %s failed', command)
        return _error(_FAILED, f'Unexpected {type(e).__name__}; see '
                               "kata-compute's log.")


def _error(code: int, message: str) -> dict[str, Any]:
    return {'error': {'code': code, 'msg': message, 'details': ''}}


class _Handler(socketserver.StreamRequestHandler):
    timeout = _READ_TIMEOUT
    server: '_Server'

    def handle(self) -> None:
        credentials = self.connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize('3i'))
        if struct.unpack('3i', credentials)[1] not in (0, os.geteuid()):
            return
        try:
            request = json.loads(self.rfile.readline(_MAX_REQUEST))
        except (OSError, ValueError) as e:
            LOG.warning('Could not read a request on the CNI socket: %s', e)
            return
        reply = answer(self.server.network, request)
        try:
            self.wfile.write(json.dumps(reply).encode() + b'\n')
        except OSError as e:
            LOG.warning('Could not send the answer to kata-cni: %s', e)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
    network: plugging.Network


class CniServer:
    """Serves from start() to stop(), in its own threads."""

    def __init__(self, path: str, network_: plugging.Network) -> None:
        self._path = pathlib.Path(path)
        self._network = network_
        self._server: _Server | None = None

    def start(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)  # creates the socket with mode 0600
        try:
            self._server = _Server(str(self._path), _Handler)
        finally:
            os.umask(before)
        self._server.network = self._network
        threading.Thread(target=self._server.serve_forever, name='cni',
                         daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self._path.unlink(missing_ok=True)
