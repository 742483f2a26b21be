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

"""Records whose creation failed where Zun does not complete the failure."""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
from typing import Any

from oslo_log import log as logging
from oslo_utils import timeutils
from zun.common import consts
from zun.common import context as zun_context
from zun.common import exception as zun_exc
import zun.conf
from zun import objects as zun_objects

from kata_openstack.zun_driver import placement

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)
_REMEMBERED = 10000
_LONGEST = 600  # seconds; scheduling and waiting for volumes takes less
_INTERRUPTED = ('A restart of zun-compute interrupted the rebuild. Rebuild '
                'the container again.')
_LOST = ('The creation did not reach a node, or ended there without a result. '
         'Delete it and create it again.')


def refused_volume(context: Any, uuid: str, reason: str) -> None:
    """Complete the failure of a creation whose volume is refused.

    Zun attaches the volumes of a capsule to its containers, and sets only one
    of these to Error. The allocation in Placement is the capsule's.

    :param uuid: of the container that the volume is for
    """
    record = _owner(uuid)
    if record is None or record.status != consts.CREATING:
        return  # zun-compute attaches volumes again when it starts
    placement.free(context, record.uuid)
    if record.container_type == consts.TYPE_CAPSULE:
        with unless_deleted(record):
            set_error(context, record, reason)


def interrupted_rebuild(context: Any, record: Any) -> None:
    """End a rebuild that a restart of zun-compute has interrupted.

    Zun repeats or ends all other operations, but leaves this task for ever.
    """
    if record.task_state == consts.CONTAINER_REBUILDING:
        record.task_state = None
        with unless_deleted(record):
            set_error(context, record, _INTERRUPTED)


def _owner(uuid: str) -> Any:
    """Return the container, or the capsule that it belongs to.

    :returns: None if it was deleted
    """
    context = zun_context.get_admin_context(all_projects=True)
    try:
        record = zun_objects.container.ContainerBase.get_container_any_type(
            context, uuid)
    except zun_exc.ContainerNotFound:
        return None
    if record.container_type not in (consts.TYPE_CAPSULE_CONTAINER,
                                     consts.TYPE_CAPSULE_INIT_CONTAINER):
        return record
    return next((
        capsule for capsule in zun_objects.Capsule.list(
            context, filters={'project_id': record.project_id})
        if capsule.id == record.capsule_id), None)


@contextlib.contextmanager
def unless_deleted(record: Any) -> Iterator[None]:
    """Ignore that a record was deleted since it was listed.

    One such record must not end the sync of all others.
    """
    try:
        yield
    except (zun_exc.ContainerNotFound, zun_exc.CapsuleNotFound):
        LOG.debug('%s was deleted meanwhile', record.uuid)


def set_error(context: Any, record: Any, reason: str) -> None:
    """Set a record to Error, and so the containers of a capsule."""
    records = [record]
    if record.container_type == consts.TYPE_CAPSULE:
        records += [*(record.init_containers or []), *record.containers]
    for each in records:
        each.status = consts.ERROR
        each.status_reason = reason
        each.save(context)


class Sweeper:
    """Completes failures that no call to the driver follows."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def sweep(self, context: Any, records: Iterable[Any]) -> None:
        """Set stuck records to Error, and free what failed creations hold.

        A record is stuck if it has been in Creating for ten minutes without a
        host, or on this host without a task. Only a record without a host
        loses its allocation here: the others can be deleted. Ends at the
        first failure of Placement, whose requests may take long.
        """
        for record in records:
            if _is_stuck(record):
                with unless_deleted(record):
                    record.refresh()  # the list is some seconds old
                    if _is_stuck(record):
                        LOG.warning('%s has been in Creating for more than '
                                    '%s seconds', record.uuid, _LONGEST)
                        set_error(context, record, _LOST)
            if (record.host is not None or record.status != consts.ERROR
                    or record.uuid in self._done):
                continue
            if not placement.free(context, record.uuid):
                return
            if len(self._done) >= _REMEMBERED:
                self._done.clear()
            self._done.add(record.uuid)


def _is_stuck(record: Any) -> bool:
    return bool(
        record.status == consts.CREATING
        and (record.host is None
             or record.host == CONF.host and not record.task_state)
        and timeutils.is_older_than(
            record.updated_at or record.created_at, _LONGEST))
