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

"""The RPC endpoint: unpacks arguments, calls the parts, packs results.

The work is done in pods/, images/, console/ and inventory.py.
"""

from collections.abc import Callable
import functools
import math
import time
import typing
from typing import Any

from oslo_log import log as logging
import oslo_messaging as messaging

from kata_openstack.compute.archives import copying
from kata_openstack.compute.console import consoles
from kata_openstack.compute.events import changes
from kata_openstack.compute.images import store
from kata_openstack.compute import inventory
from kata_openstack.compute import lanes
from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import lifecycle
from kata_openstack.compute import rpcapi
from kata_openstack.compute.usage import resizing
from kata_openstack.compute.usage import stats
from kata_openstack.compute.usage import top
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack import request_context
from kata_openstack import schema

LOG = logging.getLogger(__name__)

Dict = dict[str, Any]


def _method(lane: str = '') -> Callable[..., Any]:
    """Check arguments, keep to the lanes, and pass our errors to the caller.

    A KataError is an answer; any other error is a bug, and its traceback is
    logged here. Expired requests are dropped: the caller may already have
    reported the failure and cleaned up. Arguments are not logged, because
    they hold environments and passwords.

    :param lane: a lane of :data:`LANES`, for a method that can take long
    """
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = typing.get_type_hints(function, include_extras=True)
        del hints['ctxt'], hints['return']

        @functools.wraps(function)
        def wrapper(self: Any, ctxt: Dict, **kwargs: Any) -> Any:
            request_context.enter(ctxt)
            try:
                late = time.time() - ctxt.get(rpcapi.VALID_UNTIL, math.inf)
                if late > 0:
                    LOG.warning('%s was dropped: the request expired %.0f s '
                                'ago', function.__name__, late)
                    # the caller may still wait: a long call expires before
                    # that, see ComputeAPI
                    raise exception.Expired(operation=function.__name__,
                                            late=late)
                given = schema.arguments(function.__name__, kwargs, hints)
                with self._lanes[lane].enter(*self._whose(ctxt, given)):
                    return function(self, ctxt, **given)
            except exception.KataError as e:
                LOG.info('%s: %s', function.__name__, e)
                raise messaging.ExpectedException from e
            except Exception as e:
                LOG.exception('%s failed', function.__name__)
                raise exception.RuntimeFailed(
                    operation=function.__name__,
                    why=f'{type(e).__name__} in kata-compute') from None
        return wrapper
    return decorate


class Versions:
    """Tell callers of every version what this node has.

    It must never change.
    """

    target = messaging.Target(namespace=rpcapi.VERSIONS, version='1.0')

    def get_rpc_version(self, ctxt: Dict) -> str:
        return rpcapi.VERSION


class ComputeManager:
    """See :class:`kata_openstack.compute.rpcapi.ComputeAPI`."""

    target = messaging.Target(version=rpcapi.VERSION)

    def __init__(self, pods_: lifecycle.Pods,
                 containers_: containers.Containers,
                 images_: store.Images,
                 inventory_: inventory.Inventory, stats_: stats.Stats,
                 top_: top.Top, resizing_: resizing.Resizing,
                 changes_: changes.Changes,
                 consoles_: consoles.Consoles,
                 copying_: copying.Copying) -> None:
        self._lanes = lanes.all_lanes()
        self._pods = pods_
        self._containers = containers_
        self._images = images_
        self._inventory = inventory_
        self._stats = stats_
        self._top = top_
        self._resizing = resizing_
        self._changes = changes_
        self._consoles = consoles_
        self._copying = copying_

    def _whose(self, ctxt: Dict, given: Dict) -> tuple[str | None, str | None]:
        """Return the project and the container whose places a call takes.

        :raises KataError: the call is about something that does not exist.
        """
        if 'exec_id' in given:
            return self._consoles.whose(given['exec_id'])
        return ctxt.get('project_id'), given.get('container_uuid')

    @_method()
    def get_node_info(self, ctxt: Dict) -> Dict:
        return self._inventory.get()

    @_method('pull')
    def pull_image(self, ctxt: Dict, reference: str,
                   policy: schema.Policy,
                   auth: objects.Credentials | None) -> Dict:
        return self._images.pull(reference, policy,
                                 auth.to_dict() if auth else None,
                                 ctxt.get('project_id'))

    @_method('pull')
    def import_image(self, ctxt: Dict, image_uuid: schema.Uuid,
                     file: str | None) -> Dict:
        return self._images.import_image(image_uuid, file,
                                         ctxt.get('project_id'))

    @_method()
    def inspect_image(self, ctxt: Dict, reference: str) -> Dict:
        return self._images.inspect(reference)

    @_method()
    def delete_image(self, ctxt: Dict, image_id: str) -> None:
        self._images.delete(image_id)

    @_method('start')
    def create_pod(self, ctxt: Dict, pod: objects.Pod) -> Dict:
        return self._pods.create(pod).to_dict()

    @_method('start')
    def start_pod(self, ctxt: Dict, pod: objects.Pod) -> Dict:
        return self._pods.start(pod).to_dict()

    @_method('stop')
    def stop_pod(self, ctxt: Dict, pod_uuid: schema.Uuid,
                 timeout: schema.Seconds) -> Dict:
        return self._pods.stop(pod_uuid, timeout).to_dict()

    @_method('start')
    def restart_pod(self, ctxt: Dict, pod: objects.Pod,
                    timeout: schema.Seconds) -> Dict:
        self._pods.stop(pod.uuid, timeout)
        return self._pods.start(pod).to_dict()

    @_method('stop')
    def delete_pod(self, ctxt: Dict, pod_uuid: schema.Uuid,
                   force: bool) -> None:
        self._pods.delete(pod_uuid, force)

    @_method()
    def show_pod(self, ctxt: Dict, pod_uuid: schema.Uuid) -> Dict:
        return self._pods.show(pod_uuid).to_dict()

    @_method()
    def wait_for_changes(self, ctxt: Dict, epoch: str, since: int,
                         timeout: schema.Seconds) -> Dict:
        return self._changes.wait(epoch, since, timeout)

    @_method()
    def list_pods(self, ctxt: Dict) -> list[Dict]:
        return [pod.to_dict() for pod in self._pods.list()]

    @_method('guest')
    def kill_container(self, ctxt: Dict, container_uuid: schema.Uuid,
                       signal: str) -> None:
        self._containers.kill(container_uuid, signal)

    @_method()
    def logs(self, ctxt: Dict, container_uuid: schema.Uuid, stdout: bool,
             stderr: bool, timestamps: bool, tail: schema.Lines | None,
             since: schema.Moment | None) -> str:
        return self._containers.logs(
            container_uuid, stdout=stdout, stderr=stderr,
            timestamps=timestamps, tail=tail, since=since)

    @_method('guest')
    def exec_sync(self, ctxt: Dict, container_uuid: schema.Uuid,
                  command: list[str], timeout: schema.Seconds) -> Dict:
        return self._containers.exec_sync(container_uuid, command, timeout)

    @_method()
    def attach_container(self, ctxt: Dict, container_uuid: schema.Uuid
                         ) -> Dict:
        return self._consoles.attach(container_uuid, ctxt.get('project_id'))

    @_method('guest')
    def resize_terminal(self, ctxt: Dict, container_uuid: schema.Uuid,
                        height: schema.Side, width: schema.Side) -> None:
        self._containers.resize(container_uuid, height, width)

    @_method()
    def create_exec(self, ctxt: Dict, container_uuid: schema.Uuid,
                    command: list[str], interactive: bool) -> Dict:
        return self._consoles.create_exec(
            container_uuid, ctxt.get('project_id'), command, interactive)

    @_method('guest')
    def resize_exec(self, ctxt: Dict, exec_id: schema.Secret,
                    height: schema.Side, width: schema.Side) -> None:
        self._consoles.resize_exec(exec_id, height, width)

    @_method('guest')
    def stats(self, ctxt: Dict, container_uuid: schema.Uuid) -> Dict:
        return self._stats.get(container_uuid)

    @_method('guest')
    def top(self, ctxt: Dict, container_uuid: schema.Uuid,
            arguments: str) -> Dict:
        return self._top.get(container_uuid, arguments)

    @_method('guest')
    def resize_container(self, ctxt: Dict, container_uuid: schema.Uuid,
                         cpus: float | None, memory_mib: int | None,
                         check_only: bool) -> None:
        self._resizing.resize(container_uuid, cpus, memory_mib, check_only)

    @_method('guest')
    def pack_archive(self, ctxt: Dict, container_uuid: schema.Uuid, path: str,
                     limit_mib: schema.Mebibytes) -> Dict:
        return self._copying.pack(ctxt.get('project_id'), container_uuid,
                                  path, limit_mib)

    @_method('guest')
    def read_archive(self, ctxt: Dict, container_uuid: schema.Uuid,
                     archive_id: schema.Uuid, offset: schema.Offset) -> str:
        return self._copying.read(ctxt.get('project_id'), container_uuid,
                                  archive_id, offset)

    @_method('guest')
    def open_archive(self, ctxt: Dict, container_uuid: schema.Uuid) -> str:
        return self._copying.open(ctxt.get('project_id'), container_uuid)

    @_method('guest')
    def write_archive(self, ctxt: Dict, container_uuid: schema.Uuid,
                      archive_id: schema.Uuid, offset: schema.Offset,
                      archive_data: schema.ArchiveData) -> None:
        self._copying.write(ctxt.get('project_id'), container_uuid,
                            archive_id, offset, archive_data)

    @_method('guest')
    def unpack_archive(self, ctxt: Dict, container_uuid: schema.Uuid,
                       archive_id: schema.Uuid, path: str) -> None:
        self._copying.unpack(ctxt.get('project_id'), container_uuid,
                             archive_id, path)

    @_method('guest')
    def close_archive(self, ctxt: Dict, container_uuid: schema.Uuid,
                      archive_id: schema.Uuid) -> None:
        self._copying.close(ctxt.get('project_id'), container_uuid,
                            archive_id)

    @_method('guest')
    def pause_container(self, ctxt: Dict, container_uuid: schema.Uuid,
                        paused: bool) -> None:
        self._containers.pause(container_uuid, paused)
