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

"""Write the state of a pod on the node into Zun's records.

Only this module translates states of the node: operations, show, list and the
periodic sync call :func:`apply` or :func:`apply_capsule`.
"""

import time
from typing import Any

from zun.common import consts

from kata_openstack import objects

_STATUS = {
    'created': consts.CREATED,
    'running': consts.RUNNING,
    'paused': consts.PAUSED,
    'exited': consts.STOPPED,
}
_OOM = ('The container ran out of memory and was killed (OOMKilled). Create '
        'a new one with more --memory.')
_CHILD_OOM = ('A process in the container was killed because memory ran out; '
              'the main process went on and ended with exit code {}. If that '
              'is an error, create a new container with more --memory.')
_SIGKILL = 137  # exit code
# Characters that fit into columns of Zun's database.
_DETAIL_MAX = 50  # status_detail
_RUNTIME_MAX = 32  # runtime
_HOSTNAME_MAX = 63  # hostname


def _set(record: Any, field: str, value: Any) -> None:
    """Assign a value only if it differs.

    Zun writes each assigned field to its database, changed or not.
    """
    if getattr(record, field) != value:
        setattr(record, field, value)


def since(then: float | None, now: float) -> str:
    """Return the time from ``then`` to ``now``, such as ``3 minutes``.

    Both are Unix seconds.
    """
    if then is None:
        return 'some time'
    seconds = max(0, int(now - then))
    for unit, size in (('day', 86400), ('hour', 3600), ('minute', 60)):
        if seconds >= size:
            count = seconds // size
            return f'{count} {unit}{"" if count == 1 else "s"}'
    return f'{seconds} second{"" if seconds == 1 else "s"}'


def detail(status: objects.ContainerStatus, now: float) -> str:
    """Return ``status_detail`` in Docker's words, at most 50 characters."""
    if status.state in ('running', 'paused'):
        words = f'Up {since(status.started_at, now)}'
        if status.state == 'paused':
            words += ' (Paused)'
        elif status.health:
            words += f' ({status.health})'
    elif status.state == 'exited':
        code = '?' if status.exit_code is None else status.exit_code
        words = f'Exited({code}) {since(status.finished_at, now)} ago'
        if _out_of_memory(status):
            words += ' (OOMKilled)'
    elif status.state == 'created':
        words = 'Created'
    else:
        words = ''
    return words[:_DETAIL_MAX]


def _out_of_memory(status: objects.ContainerStatus) -> bool:
    """Return whether its main process was killed for lack of memory.

    containerd gives the reason OOMKilled also to a container of which only
    another process was killed, at any time before.
    """
    return status.reason == 'OOMKilled' and status.exit_code == _SIGKILL


def _reason(status: objects.ContainerStatus) -> str | None:
    """Return why the container stopped, None if only its code is known."""
    if _out_of_memory(status):
        return _OOM
    if status.reason == 'OOMKilled':
        return _CHILD_OOM.format(status.exit_code)
    if status.reason not in ('', 'Completed', 'Error'):
        return ': '.join(t for t in (status.reason, status.message) if t)
    return status.message or None


def apply(record: Any, status: objects.ContainerStatus, *,
          forced: bool = False, now: float | None = None) -> None:
    """Write the container's state on the node into its Zun record.

    While a task runs, the record stays unchanged unless ``forced``: the task
    sets the outcome. The status Error (for example after a failed start)
    stays until the container runs again, unless ``forced``.
    """
    if record.task_state and not forced:
        return
    now = time.time() if now is None else now
    new = _STATUS.get(status.state, consts.UNKNOWN)
    if (record.status == consts.ERROR and not forced
            and new in (consts.CREATED, consts.STOPPED)):
        return
    if record.status != new:
        record.status = new
        _set(record, 'status_reason',
             _reason(status) if new == consts.STOPPED else None)
    elif new == consts.STOPPED and not record.status_reason:
        # the node may learn the reason a moment after the end
        _set(record, 'status_reason', _reason(status))
    _set(record, 'status_detail', detail(status, now))


def apply_restarting(record: Any, status: objects.ContainerStatus, *,
                     now: float | None = None) -> None:
    """Show in Docker's words that a container is started again."""
    now = time.time() if now is None else now
    words = f'Restarting({status.exit_code}) {since(status.finished_at, now)}'
    _set(record, 'status_detail', f'{words} ago'[:_DETAIL_MAX])


def apply_pod(record: Any, pod: objects.PodStatus) -> None:
    """Write sandbox ID, runtime handler and hostname into the record."""
    if pod.sandbox_id:
        _set(record, 'container_id', pod.sandbox_id)
    if pod.handler:
        _set(record, 'runtime', pod.handler[:_RUNTIME_MAX])
    if pod.hostname and not record.hostname:
        record.hostname = pod.hostname[:_HOSTNAME_MAX]


def of(record: Any, pod: objects.PodStatus) -> objects.ContainerStatus | None:
    """Return the status of ``record`` in its pod, None if the pod lacks it."""
    return next((c for c in pod.containers if c.uuid == record.uuid), None)


def apply_capsule(capsule: Any, pod: objects.PodStatus, *,
                  forced: bool = False) -> list[Any]:
    """Like :func:`apply`, for a capsule and its containers.

    A capsule is Running while any of its containers is. Its init containers
    do not count.

    :returns: the records that changed.
    """
    states = set()
    inits = list(capsule.init_containers or ())
    for record in inits:
        found = of(record, pod)
        if found:
            _set(record, 'container_id', found.container_id)
            apply(record, found, forced=forced)
    for record in capsule.containers:
        status = of(record, pod)
        if status is None:
            continue
        states.add(status.state)
        _set(record, 'container_id', status.container_id)
        apply(record, status, forced=forced)
    if not capsule.task_state or forced:
        if 'running' in states:
            new = consts.RUNNING
        elif 'unknown' in states:
            new = consts.UNKNOWN
        elif 'created' in states:
            new = consts.CREATED
        else:
            new = consts.STOPPED
        if (forced or new == consts.RUNNING
                or capsule.status != consts.ERROR):
            _set(capsule, 'status', new)
            if new == consts.RUNNING:
                _set(capsule, 'status_reason', pod.problem or None)
            elif pod.problem:
                _set(capsule, 'status_reason', pod.problem)
    return [record for record in (capsule, *inits, *capsule.containers)
            if record.obj_what_changed()]
