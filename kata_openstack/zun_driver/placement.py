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

"""Placement, where Zun 18 needs help with it.

When a create fails, Zun unsets the host of the container and leaves its
allocation in Placement, for ever: a later delete only removes the record.
After some failures, such as of wrong options, a node would be "full".

When it updates a resource provider and its cached generation is old, as it
is after every create, the error 409 is not the one that it knows to handle
(``common/clients.py`` makes the adapter without ``raise_exc=False``): the
create that is under way stops there and stays in Creating. Its cache is
refreshed every [compute] resource_provider_association_refresh seconds.
"""

from collections.abc import Iterable
import functools
from typing import Any

from oslo_log import log as logging
from zun.common import consts
from zun.scheduler.client import report

LOG = logging.getLogger(__name__)
_REMEMBERED = 10000


@functools.lru_cache(maxsize=1)
def _client() -> report.SchedulerReportClient:
    return report.SchedulerReportClient()


def free(context: Any, uuid: str) -> bool:
    """Delete the allocation of a container or capsule, if there is one.

    :returns: False if Placement could not be asked.
    """
    try:
        _client().delete_allocation_for_container(context, uuid)
    except Exception as e:  # Zun raises a class here that does not exist
        LOG.warning('The allocation of %s is left in Placement: %s', uuid, e)
        return False
    return True


def is_current(provider: Any) -> bool:
    """Whether Placement would take an update of ``provider``.

    :param provider: ``zun.compute.provider_tree.ProviderData``, as Zun has
        it in its cache.
    """
    try:
        found = _client().get(f'/resource_providers/{provider.uuid}').json()
    except Exception as e:
        LOG.warning('The resource provider %s is not updated now: %s',
                    provider.name, e)
        return False
    return found.get('generation') == provider.generation


class Sweeper:
    """Frees those of records whose create failed outside of the driver."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def sweep(self, context: Any, records: Iterable[Any]) -> None:
        for record in records:
            if (record.host is None and record.status == consts.ERROR
                    and record.uuid not in self._done
                    and free(context, record.uuid)):
                if len(self._done) >= _REMEMBERED:
                    self._done.clear()
                self._done.add(record.uuid)
