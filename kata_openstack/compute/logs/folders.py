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

"""The folder of each pod, for the logs that containerd writes.

Its hosts file lies there too, see :mod:`kata_openstack.compute.pods.hosts_file`.
"""

from collections.abc import Callable
import contextlib
import pathlib
import shutil
from typing import Any

from oslo_concurrency import lockutils
from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import uuidutils

from kata_openstack.compute.pods import labels
from kata_openstack.runtime.containerd import native

LOG = logging.getLogger(__name__)


def root(conf: cfg.ConfigOpts) -> pathlib.Path:
    return pathlib.Path(conf.state_path) / 'logs'


def of_pod(conf: cfg.ConfigOpts, pod_uuid: str) -> pathlib.Path:
    return root(conf) / pod_uuid


def remove(conf: cfg.ConfigOpts, pod_uuid: str) -> None:
    shutil.rmtree(of_pod(conf, pod_uuid), ignore_errors=True)


def sweep(conf: cfg.ConfigOpts, client: native.NativeClient,
          lock: Callable[[str], contextlib.AbstractContextManager[Any]]
          ) -> None:
    """Remove the folders of pods that containerd no longer has.

    They remain if kata-compute dies before the last step of a deletion, and
    Zun does not ask for the deletion again.

    :param lock: of a pod; raises AcquireLockFailedException if it is taken.
    :raises KataError: if containerd does not answer.
    """
    if not root(conf).exists():
        return
    found = {path.name for path in root(conf).iterdir()
             if uuidutils.is_uuid_like(path.name)}
    known = _known(client)
    if not known:
        return  # perhaps the disk of containerd is not mounted
    for pod_uuid in found - known:
        try:
            with lock(pod_uuid):
                if pod_uuid not in _known(client):  # not new either
                    remove(conf, pod_uuid)
                    LOG.info('Removed the logs of pod %s, which containerd '
                             'does not have', pod_uuid)
        except lockutils.AcquireLockFailedException:
            continue  # it is being created or deleted


def _known(client: native.NativeClient) -> set[str]:
    """Return the pods of which containerd has any part.

    CRI would leave out those that it could not load.
    """
    return {record.labels.get(labels.POD, '') for record in
            client.containers([f'labels."{labels.POD}"'])} - {''}
