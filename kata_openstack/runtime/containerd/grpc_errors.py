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

"""gRPC's errors as ours: what failed, why, what to do about it."""

import grpc

from kata_openstack import exception


def translate(error: grpc.RpcError, operation: str, address: str,
              kind: str, ident: str) -> exception.KataError:
    """The error to raise for a failed call.

    :param operation: the call, for the message
    :param address: containerd's socket
    :param kind: what the call was about ('Sandbox', 'Container', 'Image')
    :param ident: its name or id
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
    """containerd's words without line ends, and without an endless tail."""
    text = ' '.join(text.split()).rstrip('.')
    return text if len(text) <= 1000 else text[:1000] + '...'
