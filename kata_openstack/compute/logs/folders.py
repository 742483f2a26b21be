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
import functools
import pathlib
import shutil
from typing import Any

from oslo_config import cfg
from oslo_utils import uuidutils

from kata_openstack.compute.pods import leftovers
from kata_openstack.runtime.containerd import native


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

    :param lock: see :func:`leftovers.sweep`.
    :raises KataError: if containerd does not answer.
    """
    if not root(conf).exists():
        return
    found = {path.name for path in root(conf).iterdir()
             if uuidutils.is_uuid_like(path.name)}
    leftovers.sweep(client, found, lock, functools.partial(remove, conf),
                    'logs')
