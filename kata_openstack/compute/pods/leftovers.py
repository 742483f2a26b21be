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

"""Removes what pods that containerd no longer has have left."""

from collections.abc import Callable
from collections.abc import Iterable
import contextlib
from typing import Any

from oslo_concurrency import lockutils
from oslo_log import log as logging

from kata_openstack.compute.pods import labels
from kata_openstack.runtime.containerd import native

LOG = logging.getLogger(__name__)


def sweep(client: native.NativeClient, found: Iterable[str],
          lock: Callable[[str], contextlib.AbstractContextManager[Any]],
          remove: Callable[[str], None], what: str) -> None:
    """Remove the parts of those pods that containerd does not have.

    They remain if kata-compute dies before the last step of a deletion, and
    Zun does not ask for the deletion again.

    :param found: UUIDs of pods.
    :param lock: of a pod; raises AcquireLockFailedException if it is taken.
    :param remove: called with the UUID of a pod.
    :param what: the parts, for the log.
    :raises KataError: if containerd does not answer.
    """
    known = _known(client)
    if not known:
        return  # perhaps the disk of containerd is not mounted
    for pod_uuid in set(found) - known:
        try:
            with lock(pod_uuid):
                if pod_uuid not in _known(client):  # not new either
                    remove(pod_uuid)
                    LOG.info('Removed the %s of pod %s, which containerd '
                             'does not have', what, pod_uuid)
        except lockutils.AcquireLockFailedException:
            continue  # it is being created or deleted
        except OSError as e:
            LOG.warning('Could not remove the %s of pod %s: %s', what,
                        pod_uuid, e)


def _known(client: native.NativeClient) -> set[str]:
    """Return the pods of which containerd has any part.

    CRI would leave out those that it could not load.
    """
    return {record.labels.get(labels.POD, '') for record in
            client.containers([f'labels."{labels.POD}"'])} - {''}
