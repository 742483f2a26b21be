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

"""New limits of CPU and memory.

Zun's manager asks the driver within a claim of the node's resources. If that
fails, the end of the claim raises a TypeError, which hides the cause
(abort_container_update_claim() in Zun's compute_node_tracker.py). So the
request is checked where the manager asks for the ratios of the node, which is
just before the claim: an error from there reaches the user.
"""

import sys
from typing import Any

from oslo_log import log as logging
from zun import objects as zun_objects
from zun.objects import container as zun_container

from kata_openstack import exception
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver import placement
from kata_openstack.zun_driver import translate

LOG = logging.getLogger(__name__)
_FIELDS = ('cpu', 'memory')


class Resources:
    """A mixin; list it before Zun's ContainerDriver in the bases."""

    cpu_allocation_ratio: float

    def get_cpu_allocation_ratio(self) -> float:
        """Return the ratio; first check the request of the caller, if any.

        :raises Invalid, Conflict: the node refuses the new limits. They are
            in the status_reason too, because nobody waits for the answer to
            the API's resize_container.
        """
        record = sys._getframe(1).f_locals.get('container')
        if isinstance(record, zun_container.Container):
            _check(record)
        return self.cpu_allocation_ratio

    def update(self, context: Any, container: Any) -> None:
        """Change the limits on the node.

        If the node fails although it found no obstacle a moment ago, the
        record keeps the former limits, and tells the reason.
        """
        try:
            _resize(container)
        except exception.KataError as e:
            LOG.error('Could not resize container %s: %s', container.uuid, e)
            former = zun_objects.Container.get_by_uuid(context,
                                                       container.uuid)
            _allocate(container, former)
            for field in _FIELDS:
                setattr(container, field, getattr(former, field))
            container.status_reason = errors.text(e)
        else:
            container.status_reason = None


def _check(record: Any) -> None:
    try:
        _resize(record, check_only=True)
        _allocate(record, record)
    except exception.KataError as e:
        error = errors.to_zun(e)
        former = zun_objects.Container.get_by_uuid(record._context,
                                                   record.uuid)
        former.status_reason = errors.text(error)
        former.save(record._context)
        raise error from e


def _allocate(record: Any, amounts: Any) -> None:
    """Tell Placement of a change of memory.

    :param amounts: a record with the amounts that hold from now on
    :raises Conflict:
    """
    memory_mib = translate.memory_mib(amounts)
    if 'memory' in record.obj_get_changes() and memory_mib:
        placement.resize(record._context, record.uuid, memory_mib)


def _resize(record: Any, check_only: bool = False) -> None:
    """Send the limits that the request changes."""
    changed = record.obj_get_changes()
    if record.container_id is None or not set(_FIELDS) & set(changed):
        return  # a container that failed has its limits at the next create
    client.api().resize_container(
        client.context(record._context), client.host(record), record.uuid,
        float(record.cpu) if 'cpu' in changed else None,
        translate.memory_mib(record) if 'memory' in changed else None,
        check_only)
