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

"""Labels and annotations of kata-compute's sandboxes and containers.

They are the only state of pods that the node keeps: after a restart,
kata-compute reads it back from containerd. Labels are short and can be
searched for; annotations may be long. Neither may contain a secret.
"""

from collections.abc import Mapping
import re

PREFIX = 'kata-openstack.io/'

# Labels, on sandboxes and containers
POD = PREFIX + 'pod-uuid'
KIND = PREFIX + 'kind'
PROJECT = PREFIX + 'project'
USER = PREFIX + 'user'
HANDLER = PREFIX + 'handler'
# on containers only
CONTAINER = PREFIX + 'container-uuid'

# Annotations of sandboxes
VIFS = PREFIX + 'vifs'
HANDLER_REASON = PREFIX + 'handler-reason'
ACCELERATOR = PREFIX + 'accelerator'
HOSTNAME = PREFIX + 'hostname'
COST_MIB = PREFIX + 'cost-mib'  # memory that the pod may use on the host
VM_MIB = PREFIX + 'vm-mib'  # memory of the VM, without the overhead
ASKED_MIB = PREFIX + 'asked-mib'  # memory that was asked for, 0 for none
# Annotations of containers
NAME = PREFIX + 'name'
IMAGE = PREFIX + 'image'
MEMORY_MIB = PREFIX + 'memory-mib'
RESTART = PREFIX + 'restart'  # its restart policy, '' for none
INIT = PREFIX + 'init'  # 'yes' for an init container
HEALTH = PREFIX + 'health'  # its health check, as JSON; '' for none
DISK_GIB = PREFIX + 'disk-gib'  # size of its own disk, 0 for none


def number(annotations: Mapping[str, str], key: str, default: int = 0) -> int:
    """Return a number; the default if it is missing or damaged."""
    text = annotations.get(key, '')
    return int(text) if re.fullmatch('[0-9]{1,12}', text) else default
