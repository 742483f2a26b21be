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

"""Errors of the guest's agent, as containerd and kata-compute see them."""

from collections.abc import Iterator
import contextlib

from kata_openstack.runtime.embedded.shim import sandbox
from kata_openstack.runtime.embedded.shim.wire import ttrpc
from kata_openstack.runtime.embedded.vm import agent_channel


@contextlib.contextmanager
def passed_on(pod: sandbox.Sandbox) -> Iterator[None]:
    """Pass errors of calls to the agent on to the caller of the shim.

    :raises ttrpc.RpcError: UNAVAILABLE if the VM is gone, with the cause if
        it is known; UNKNOWN if the agent refuses or fails.
    """
    try:
        yield
    except agent_channel.AgentGone as e:
        raise ttrpc.RpcError(ttrpc.UNAVAILABLE, pod.lost or str(e)) from e
    except agent_channel.AgentError as e:
        raise ttrpc.RpcError(ttrpc.UNKNOWN, str(e)) from e
