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

"""Which containers share a sandbox, by containerd's annotations.

It must import nothing slow: in most of its runs, the shim's program needs
no other module.
"""

from typing import Any

_TYPE = 'io.kubernetes.cri.container-type'
_SANDBOX = 'io.kubernetes.cri.sandbox-id'


def annotations(config: dict[str, Any]) -> dict[str, str]:
    """Return the annotations of an OCI config."""
    return config.get('annotations') or {}


def uses_cri(config: dict[str, Any]) -> bool:
    """Return whether CRI made the container, so that it belongs to a pod."""
    return _TYPE in annotations(config)


def is_sandbox(config: dict[str, Any]) -> bool:
    """Return whether it is a pod's sandbox, which has no process."""
    return annotations(config).get(_TYPE) == 'sandbox'


def sandbox_of(config: dict[str, Any], container: str) -> str:
    """Return the ID of the sandbox whose VM runs the container.

    Without the annotations, when the client does not use CRI, the container
    is its own sandbox.
    """
    found = annotations(config)
    if found.get(_TYPE) == 'container':
        return found.get(_SANDBOX) or container
    return container
