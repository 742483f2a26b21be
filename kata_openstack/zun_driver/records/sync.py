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

"""Update Zun's records from the node, one or all of them."""

from collections.abc import Iterable
import functools
from typing import Any

from oslo_log import log as logging
from oslo_utils import timeutils
from zun.common import consts
from zun.common import exception as zun_exc
from zun.common import utils as zun_utils
from zun.compute import container_actions
import zun.conf
from zun import objects as zun_objects

from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.records import background
from kata_openstack.zun_driver.records import failures
from kata_openstack.zun_driver.records import orphans
from kata_openstack.zun_driver.records import restarts
from kata_openstack.zun_driver.records import resume
from kata_openstack.zun_driver.records import status

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)
_UNSTABLE = (consts.CREATING, consts.DELETING, consts.DELETED)
# zun-api sets these for a request, which sets its task a moment later
_REQUESTED = (consts.REBUILDING, consts.RESTARTING)
_LOST_AFTER = 60.0  # seconds in which a request has begun, or is lost

# None: the node has the pod, but its state cannot be read.
_Pods = dict[str, objects.PodStatus | None]


def pods(context: Any) -> _Pods | None:
    """Return the pods of this node by UUID, None if it does not answer.

    Never raises: an error would keep zun-compute from starting.
    """
    try:
        found = client.api().list_pods(client.context(context), CONF.host)
        return {pod['uuid']: _read(pod) for pod in found}
    except Exception as e:
        LOG.warning('Could not read the states of the containers: %s',
                    errors.text(e))
        return None


def _read(pod: dict[str, Any]) -> objects.PodStatus | None:
    try:
        return objects.PodStatus.from_dict(pod)
    except exception.InvalidInput as e:  # the others must still be updated
        LOG.warning('Could not read the state of pod %s: %s', pod['uuid'], e)
        return None


def missing(record: Any) -> None:
    """Update a record whose pod is not on the node.

    The status becomes Error, or Deleted with auto_remove. A record with a
    task stays unchanged: a rebuild, for example, removes the pod for a while.
    """
    if (record.status in (*_UNSTABLE, consts.REBUILDING)
            or record.task_state):
        return
    if record.auto_remove:
        record.status = consts.DELETED
    elif record.status != consts.ERROR:
        record.status = consts.ERROR
        record.status_reason = errors.text(exception.NotFound(
            kind='Container', id=record.uuid))
        record.status_detail = None


def _is_requested(record: Any) -> bool:
    """Return whether a request that sets the outcome is on its way."""
    return bool(record.status in _REQUESTED and not record.task_state
                and record.updated_at and not timeutils.is_older_than(
                    record.updated_at, _LOST_AFTER))


def container(record: Any, pod: objects.PodStatus,
              policies: restarts.Restarts) -> None:
    """Update a container from the state of its pod, without saving.

    A container for which a request is on its way stays as it is: its pod
    still shows the state from before. So does one that is started again.
    """
    if record.status in _UNSTABLE or _is_requested(record):
        return
    state = status.of(record, pod)
    if state is None:
        missing(record)
        return
    if not record.task_state:
        status.apply_pod(record, pod)
    if policies.take(record, state):
        status.apply_restarting(record, state)
    else:
        status.apply(record, state)


def containers(context: Any, local: Iterable[Any],
               policies: restarts.Restarts) -> list[Any] | None:
    """Update containers of this host from the node, without saving.

    :returns: the containers that the node does not have, None if it does not
        answer
    """
    found = pods(context)
    return None if found is None else _containers(local, found, policies)


def _containers(local: Iterable[Any], found: _Pods,
                policies: restarts.Restarts) -> list[Any]:
    lost = []
    for record in local:
        if record.uuid in found:
            pod = found[record.uuid]
            if pod is not None:
                container(record, pod, policies)
        elif record.container_id and record.status not in _UNSTABLE:
            lost.append(record)
    return lost


def update(context: Any, local: list[Any], manager: Any,
           resumer: resume.Resumer, policies: restarts.Restarts) -> None:
    """Update and save the containers and capsules of this host.

    Rebuild lost containers that have auto_heal, start those again that wait
    for it, remove stopped ones that have auto_remove, and delete pods that
    are unknown to Zun. These take long, so they run in the background.
    """
    found = pods(context)
    if found is None:
        return
    capsules = [c for c in local if isinstance(c, zun_objects.Capsule)]
    plain = [c for c in local if not isinstance(c, zun_objects.Capsule)]
    for record in _containers(plain, found, policies):
        with failures.unless_deleted(record):
            # the list is some seconds old: a delete, or a user's own rebuild,
            # may have begun meanwhile
            record.refresh()
            if record.status in _UNSTABLE or record.task_state:
                continue
            if not (record.auto_heal and _heal(context, record, manager)):
                missing(record)
    _capsules(context, capsules, found)
    for record in plain:
        with failures.unless_deleted(record):
            if record.obj_what_changed():
                record.save(context)
            if resumer.resume(context, record, manager):
                continue
        remove_if_asked(context, record)
    known = {record.uuid for record in local}
    orphans.handle(context, [pod for pod in found.values()
                             if pod is not None and pod.uuid not in known],
                   beside_others=bool(known & found.keys()))


def remove_if_asked(context: Any, record: Any) -> None:
    """Remove a container that has stopped and has auto_remove, later."""
    if _is_to_remove(record):
        background.start(record.uuid, functools.partial(
            _auto_remove, context, record))


def one(context: Any, uuid: str, policies: restarts.Restarts) -> None:
    """Update and save a container or capsule that has changed on the node.

    :raises KataError: the node does not answer
    """
    owner = zun_objects.container.ContainerBase
    try:
        record = owner.get_container_any_type(context, uuid)
        pod = objects.PodStatus.from_dict(client.api().show_pod(
            client.context(context), CONF.host, uuid))
    except (zun_exc.ContainerNotFound, exception.NotFound):
        return  # it is being created or deleted; the sync finds the others
    if isinstance(record, zun_objects.Capsule):
        _capsules(context, [record], {uuid: pod})
        return
    container(record, pod, policies)
    with failures.unless_deleted(record):
        if record.obj_what_changed():
            record.save(context)
    remove_if_asked(context, record)


def _is_to_remove(record: Any) -> bool:
    return bool(record.auto_remove and record.status == consts.STOPPED
                and not record.task_state)


def _auto_remove(context: Any, record: Any) -> None:
    """Delete the pod, and set Deleted.

    Zun's periodic task then deletes the record and the ports.
    """
    with failures.unless_deleted(record):
        record.refresh()  # it may have been started meanwhile
        if _is_to_remove(record):
            client.api().delete_pod(client.context(context), CONF.host,
                                    record.uuid, True)
            record.status = consts.DELETED
            record.save(context)


def _capsules(context: Any, capsules: list[Any], found: _Pods) -> None:
    for capsule in capsules:
        if capsule.status in _UNSTABLE or capsule.task_state:
            continue
        if capsule.uuid in found:
            pod = found[capsule.uuid]
            changed = [] if pod is None else status.apply_capsule(capsule,
                                                                  pod)
        else:
            if not capsule.container_id:
                continue
            members = [capsule, *capsule.containers]
            for record in members:
                missing(record)
            changed = [r for r in members if r.obj_what_changed()]
        for record in changed:
            with failures.unless_deleted(record):
                record.save(context)


def _heal(context: Any, record: Any, manager: Any) -> bool:
    """Rebuild a lost container, and start it if it was running.

    Zun's docker driver omits the argument ``run``, which Zun's manager
    requires.

    :returns: False if the status does not allow a rebuild
    """
    if record.task_state:  # for example a rebuild, which may take minutes
        return True
    if record.status not in zun_utils.VALID_STATES['rebuild']:
        return False
    run = record.status == consts.RUNNING
    context = background.request(context, record, container_actions.REBUILD)
    # Set the status as zun-api does, so that the next sync does not start a
    # second rebuild.
    record.status = consts.REBUILDING
    record.save(context)
    manager.container_rebuild(context, record, run=run)
    return True
