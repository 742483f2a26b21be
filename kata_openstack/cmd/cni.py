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

"""kata-cni: containerd's CNI plugin; it passes requests to kata-compute.

It runs twice in each pod's life and delays its start, so it imports little
of the standard library and nothing else. It implements the CNI specification
0.4.0 and 1.0.0; kata-compute plugs the interfaces.
"""

import json
import os
import socket
import sys

VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0']
SOCKET = '/run/kata-openstack/cni.sock'
TIMEOUT = 90  # seconds

# Error codes of the CNI specification
_INCOMPATIBLE = 1
_ENVIRONMENT = 4
_IO = 5
_UNDECODABLE = 6
_TRY_AGAIN = 11


class Failure(Exception):
    def __init__(self, code: int, message: str, details: str = '') -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


def _ask(path: str, request: dict) -> object:
    """:raises OSError: if kata-compute does not answer"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode() + b'\n')
        with connection.makefile('rb') as stream:
            line = stream.readline()
    if not line:
        raise ConnectionError('kata-compute closed the connection')
    return json.loads(line)


def _checked(reply: object) -> tuple[tuple[int, str, str] | None, dict]:
    """Return the error or the result of an answer.

    :raises ValueError: if it is neither
    """
    if isinstance(reply, dict):
        error, result = reply.get('error'), reply.get('result')
        if isinstance(error, dict):
            return (int(str(error.get('code', _IO))),
                    str(error.get('msg', '')),
                    str(error.get('details', ''))), {}
        if isinstance(result, dict) and isinstance(
                result.setdefault('ips', []), list):
            return None, result
    raise ValueError('neither a result nor an error')


def run(environment: dict, text: str) -> dict | None:
    """Handle one CNI call.

    :param environment: the variables CNI_*
    :param text: the network configuration, JSON
    :returns: the result to print, if any
    :raises Failure: the error to print
    """
    command = environment.get('CNI_COMMAND')
    try:
        config = json.loads(text)
        version = config.get('cniVersion', '0.3.0')
    except (ValueError, AttributeError) as e:
        raise Failure(_UNDECODABLE, 'The network configuration is not '
                                    f'valid JSON: {e}') from e
    if command == 'VERSION':
        return {'cniVersion': version, 'supportedVersions': VERSIONS}
    if command not in ('ADD', 'DEL', 'CHECK'):
        raise Failure(_ENVIRONMENT, f'Unknown CNI_COMMAND {command!r}.')
    if version not in VERSIONS:
        raise Failure(_INCOMPATIBLE, f'CNI version {version} is not '
                                     'supported. Use one of '
                                     f'{", ".join(VERSIONS)}.')
    netns = environment.get('CNI_NETNS', '')
    pairs = (item.partition('=') for item in
             environment.get('CNI_ARGS', '').split(';') if item)
    try:
        reply = _ask(config.get('socket') or SOCKET, {
            'command': command, 'netns': netns,
            'container_id': environment.get('CNI_CONTAINERID', ''),
            'ifname': environment.get('CNI_IFNAME', ''),
            'args': {key: value for key, _, value in pairs},
            'config': config})
        error, result = _checked(reply)
    except (OSError, ValueError) as e:
        # The pod's interfaces are gone with its namespace. kata-compute
        # removes their records in a switch when it starts.
        if command == 'DEL' and not (netns and os.path.exists(netns)):
            return None
        raise Failure(_TRY_AGAIN, 'kata-compute does not answer. Check that '
                                  'it runs on this node.',
                      f'{type(e).__name__}: {e}') from e
    if error:
        raise Failure(*error)
    if command != 'ADD':
        return None
    return _result(version, result)


def _result(version: str, result: dict) -> dict:
    if version < '1.0.0':
        for address in result['ips']:
            address['version'] = '6' if ':' in address['address'] else '4'
    return {'cniVersion': version, **result}


def main() -> int:
    try:
        answer = run(dict(os.environ), sys.stdin.read())
    except Failure as e:
        json.dump({'cniVersion': VERSIONS[-1], 'code': e.code,
                   'msg': e.message, 'details': e.details}, sys.stdout)
        return 1
    if answer is not None:
        json.dump(answer, sys.stdout)
    return 0
