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

"""The limit of virtiofsd's open files. It keeps one for each known file."""

import resource
from typing import Final

# A remembered file takes 2.7 KiB of the host's memory, which the pod's cgroup
# counts. Files up to this limit, of which each virtiofsd of a pod has a part,
# fit into half of size.HOST_OVERHEAD_MIB.
LIMIT: Final = 32768


def raise_limit() -> None:
    """Let the calling process open as many files as allowed, up to LIMIT."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    except ValueError:  # not permitted
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
