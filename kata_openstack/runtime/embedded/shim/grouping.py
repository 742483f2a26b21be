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

"""Which containers belong together: containerd's annotations.

Imports nothing: it is all that the shim's program needs for most of its
runs.
"""

from typing import Any

_TYPE = 'io.kubernetes.cri.container-type'
_SANDBOX = 'io.kubernetes.cri.sandbox-id'


def annotations(config: dict[str, Any]) -> dict[str, str]:
    """:param config: an OCI config, as everywhere here."""
    return config.get('annotations') or {}


def is_sandbox(config: dict[str, Any]) -> bool:
    """Is it a pod's sandbox, which has no process of its own?"""
    return annotations(config).get(_TYPE) == 'sandbox'


def sandbox_of(config: dict[str, Any], container: str) -> str:
    """The id of the sandbox whose VM the container belongs in.

    Without the annotations (not through CRI) that is its own.
    """
    found = annotations(config)
    if found.get(_TYPE) == 'container':
        return found.get(_SANDBOX) or container
    return container
