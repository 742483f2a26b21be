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

"""The memory that the pods of this node may use together."""

import os

from oslo_config import cfg

_MIB = 1024 * 1024
# An eighth of the host, but at least this, is for everything else.
_RESERVED_MIB = 512


def host_mib() -> int:
    """Return the host's memory, in MiB."""
    return (os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
            // _MIB)


def limit_mib(conf: cfg.ConfigOpts) -> int:
    """Return the limit for all pods, with their overhead, in MiB.

    :param conf: has the group kata registered.
    """
    host = host_mib()
    return (conf.kata.pod_memory_mib
            or host - max(host // 8, min(_RESERVED_MIB, host // 2)))


def for_pods_mib(conf: cfg.ConfigOpts) -> int:
    """Return what :func:`limit_mib` leaves besides the VM templates.

    :param conf: has the groups kata and embedded registered.
    """
    templates = (conf.embedded.template_memory_mib
                 if 'embedded' in conf.kata.hypervisor_order else 0)
    return limit_mib(conf) - templates
