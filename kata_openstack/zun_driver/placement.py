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

"""Work around two faults in Zun 18's use of Placement.

1. When a create fails, Zun unsets the host of the container but keeps its
   allocation in Placement forever: a later delete only removes the record.
   After some failures, for example with wrong options, a node would look
   full.

2. Zun's cached generation of a resource provider is old after every create.
   An update with an old generation fails with HTTP 409, in a form that Zun
   does not handle (``common/clients.py`` creates the adapter without
   ``raise_exc=False``). The create that triggered the update then stops and
   stays in Creating. Zun refreshes its cache every [compute]
   resource_provider_association_refresh seconds.
"""

import functools
from typing import Any

from keystoneauth1 import exceptions as ks_exc
import os_resource_classes as orc
from oslo_log import log as logging
from zun.scheduler.client import report

from kata_openstack import exception

LOG = logging.getLogger(__name__)


@functools.lru_cache(maxsize=1)
def _client() -> report.SchedulerReportClient:
    return report.SchedulerReportClient()


def free(context: Any, uuid: str) -> bool:
    """Delete the allocation of a container or capsule, if there is one.

    :returns: False if Placement did not answer or refused.
    """
    try:
        _client().delete_allocation_for_container(context, uuid)
    except Exception as e:  # Zun names a class here that does not exist
        LOG.warning('Could not delete the allocation of %s in Placement: %s',
                    uuid, e)
        return False
    return True


def resize(context: Any, uuid: str, memory_mib: int) -> None:
    """Change the memory in the allocation of a container.

    Zun leaves the allocation as the scheduler made it. Then Placement would
    offer memory that a grown container already has.

    :raises Conflict: the node has not that much left. Any other failure is
        only logged: it must not keep a user from a smaller limit.
    """
    try:
        found = _client().get_allocs_for_consumer(context, uuid)
        for allocation in found['allocations'].values():
            allocation.pop('generation', None)
            if orc.MEMORY_MB in allocation['resources']:
                allocation['resources'][orc.MEMORY_MB] = memory_mib
        if found['allocations']:
            _client().put_allocations(context, uuid, found)
    except ks_exc.Conflict as e:
        raise exception.Conflict(
            kind='Container', id=uuid,
            state=f'on a node that has not {memory_mib} MiB of memory left '
                  'for it', remedy='Choose less memory, or create a new '
            'container, for which the scheduler looks for another node.'
        ) from e
    except Exception as e:  # Zun names classes here that do not exist
        LOG.warning('Could not change the allocation of %s in Placement: %s',
                    uuid, e)


def is_current(provider: Any) -> bool:
    """Return True if Placement would accept an update of ``provider``.

    :param provider: ``zun.compute.provider_tree.ProviderData`` from Zun's
        cache.
    """
    try:
        found = _client().get(f'/resource_providers/{provider.uuid}').json()
    except Exception as e:
        LOG.warning('Postponed the update of resource provider %s: %s',
                    provider.name, e)
        return False
    return found.get('generation') == provider.generation
