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

"""Log or delete pods that are on the node but unknown to Zun.

Zun drops the record of a container that is deleted by force while
kata-compute does not answer, and unsets the host of a container whose create
failed. Such a pod would run forever: no API call can reach it.
"""

from collections.abc import Iterable
import functools
import time
from typing import Any

from oslo_log import log as logging
from zun.common import consts
from zun.common import context as zun_context
import zun.conf
from zun import objects as zun_objects

from kata_openstack import objects
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.records import background

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)
_MIN_AGE = 600  # seconds; a younger pod may still be under creation
_MOST = 10  # deletions in one round


def handle(context: Any, pods: Iterable[objects.PodStatus], *,
           beside_others: bool) -> None:
    """Log or delete those of ``pods`` that are unknown to Zun. Never raises.

    [kata_driver] orphaned_pod_action decides. It skips pods younger than ten
    minutes, and all pods if it cannot ask Zun's database. It deletes nothing
    if Zun knows no pod of this node: then the database is probably a wrong or
    an old one.

    :param pods: pods of this node
    :param beside_others: whether Zun knows other pods of this node
    """
    old = time.time() - _MIN_AGE
    candidates = {pod.uuid: pod for pod in pods
                  if pod.created_at is not None and pod.created_at < old}
    if not candidates:
        return
    try:
        kept = _kept(list(candidates))
    except Exception as e:
        LOG.warning('Could not check for pods that Zun does not know: %s',
                    errors.text(e))
        return
    forgotten = [pod for uuid, pod in candidates.items() if uuid not in kept]
    for pod in forgotten:
        LOG.warning('Found %s %s on this node, but Zun has no record of it',
                    pod.kind or 'pod', pod.uuid)
    if not forgotten or CONF.kata_driver.orphaned_pod_action != 'delete':
        return
    if not beside_others and not kept:
        LOG.error('Zun has a record of no pod of this node, so none is '
                  "deleted. Check [database] connection of zun-compute. To "
                  'delete a pod, use: crictl stopp, then crictl rmp')
        return
    begun = 0
    for pod in forgotten:
        if begun < _MOST:
            begun += background.start(pod.uuid, functools.partial(
                _delete, context, pod.uuid))


def _kept(uuids: list[str]) -> set[str]:
    """Return those of ``uuids`` that have a record in Zun, on any host.

    Records whose create failed do not count: Zun has unset their host, and
    deletes them without a call to a driver.
    """
    # The caller's context may be limited to the records of one project.
    context = zun_context.get_admin_context(all_projects=True)
    return {record.uuid
            for kind in (zun_objects.Container, zun_objects.Capsule)
            for record in kind.list(context, filters={'uuid': uuids})
            if record.host is not None or record.status != consts.ERROR}


def _delete(context: Any, uuid: str) -> None:
    if not _kept([uuid]):  # still
        client.api().delete_pod(client.context(context), CONF.host, uuid,
                                True)
