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

"""A filter for Zun's scheduler, which runs in zun-api.

In the configuration of zun-api::

    [scheduler]
    available_filters = zun.scheduler.filters.all_filters
    available_filters = kata_openstack.zun_driver.scheduler.KataRuntimeFilter
    enabled_filters = AvailabilityZoneFilter,ComputeFilter,KataRuntimeFilter
"""

from collections.abc import Iterable
from typing import Any

from oslo_log import log as logging
from zun.scheduler import filters

LOG = logging.getLogger(__name__)


class KataRuntimeFilter(filters.BaseHostFilter):
    """Replaces Zun's RuntimeFilter, for a better error message.

    If no host offers the runtime, the filter passes all hosts, and the
    chosen host refuses the request with the names of the known runtimes.
    Zun's own filter would only report "There are not enough hosts
    available."
    """

    run_filter_once_per_request = True

    def filter_all(self, filter_obj_list: Iterable[Any], container: Any,
                   extra_spec: Any) -> Iterable[Any]:
        hosts = list(filter_obj_list)
        runtime = getattr(container, 'runtime', None)
        if not runtime:
            return hosts
        fit = [host for host in hosts if runtime in (host.runtimes or [])]
        if not fit:
            LOG.info('No host offers the runtime %s; passing all hosts',
                     runtime)
        return fit or hosts
