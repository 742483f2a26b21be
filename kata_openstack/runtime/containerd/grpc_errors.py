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

"""Translates gRPC's errors to those of this project."""

import grpc

from kata_openstack import exception


def translate(error: grpc.RpcError, operation: str, address: str,
              kind: str, ident: str) -> exception.KataError:
    """Return the error to raise for a failed call.

    :param operation: the name of the call, for the message
    :param address: containerd's socket
    :param kind: the object of the call: 'Sandbox', 'Container' or 'Image'
    :param ident: the name or id of the object
    """
    code = error.code()
    why = one_line(error.details() or str(code))
    if code == grpc.StatusCode.UNAVAILABLE:
        return exception.ContainerdUnavailable(address=address, why=why)
    if code == grpc.StatusCode.UNIMPLEMENTED:
        # "unknown service runtime.v1.RuntimeService": the CRI plugin is in
        # disabled_plugins, or failed to load, or is older than v1.
        return exception.ContainerdUnavailable(
            address=address, why=f'it does not serve {operation} ({why})')
    if code == grpc.StatusCode.NOT_FOUND:
        return exception.NotFound(kind=kind, id=ident)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        why = f'containerd took longer than the limit ({why})'
    return exception.RuntimeFailed(operation=operation, why=why)


def one_line(text: str) -> str:
    """Return the text on one line, cut off after 1000 characters."""
    text = ' '.join(text.split()).rstrip('.')
    return text if len(text) <= 1000 else text[:1000] + '...'
