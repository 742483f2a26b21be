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

"""Creates, starts, stops and deletes the pods of this node.

Each operation either succeeds or restores the previous state. No state is
kept between operations: see :mod:`kata_openstack.compute.pods.view`.
"""

import builtins
from collections.abc import Iterator
from concurrent import futures
import contextlib
import functools
import time
from typing import Any

from oslo_concurrency import lockutils
from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack.compute.archives import interrupts
from kata_openstack.compute.health import results
from kata_openstack.compute.images import store
from kata_openstack.compute.logs import folders
from kata_openstack.compute.network import plugging
from kata_openstack.compute.pods import admission
from kata_openstack.compute.pods import cri_config
from kata_openstack.compute.pods import disks
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import making
from kata_openstack.compute.pods import replacement
from kata_openstack.compute.pods import view
from kata_openstack.compute.restarts import inits
from kata_openstack.compute.restarts import policy
from kata_openstack.compute.restarts import stored_pod
from kata_openstack import exception
from kata_openstack.notifications import emitter
from kata_openstack import objects
from kata_openstack import request_context
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import node

LOG = logging.getLogger(__name__)


class Pods:
    """The pods of this node. Operations on one pod are serialised."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 native_: native.NativeClient, node_: node.Node,
                 images_: store.Images, network_: plugging.Network,
                 emitter_: emitter.Emitter,
                 health_: results.Results) -> None:
        self._conf = conf
        self._client = client
        self._native = native_
        self._node = node_
        self._images = images_
        self._network = network_
        self._emitter = emitter_
        self._health = health_
        self.disks = disks.Disks(native_, images_.space)
        self.interrupts = interrupts.Interrupts()
        self._admission = admission.Admission(conf, client)
        self._inits = inits.Inits(conf, client)
        # why a pod could not be restarted, by its UUID; in memory only
        self.problems: dict[str, str] = {}
        self._maker = making.Maker(conf, client, images_, network_, self.disks,
                                   emitter_)

    # Queries

    def show(self, pod_uuid: str) -> objects.PodStatus:
        """:raises NotFound: if the pod is not on this node"""
        return self._status(self._read(pod_uuid))

    def list(self) -> builtins.list[objects.PodStatus]:
        return [self._status(found)
                for found in view.read_all(self._client).values()]

    def _status(self, found: view.PodView) -> objects.PodStatus:
        status = view.pod_status(self._client, found)
        status.problem = self.problems.get(found.uuid, '')
        for container in status.containers:
            if container.state == 'running':
                container.health = self._health.words(container.container_id)
                if self._native.is_paused(container.container_id):
                    container.state = 'paused'
        if lost := view.lost(found, status):
            with (contextlib.suppress(lockutils.AcquireLockFailedException),
                  self.lock(found.uuid, blocking=False)):
                view.explain(self._client, found, lost)
        return status

    def _read(self, pod_uuid: str) -> view.PodView:
        found = view.read(self._client, pod_uuid)
        if found is None:
            raise exception.NotFound(kind='Pod', id=pod_uuid)
        return found

    # Operations

    def create(self, pod: objects.Pod) -> objects.PodStatus:
        """Create the pod's VM, and its containers in it, not started.

        An error removes everything that was created.

        :raises Conflict: if the pod exists
        :raises InvalidInput, Unsupported, NotEnoughMemory, NodeFull,
            NotEnoughDisk, NoHandler, UnknownRuntime, ImageNotFound,
            NetworkFailed: before or during the creation
        """
        cri_config.check(pod)
        with self.lock(pod.uuid):
            if view.read(self._client, pod.uuid) is not None:
                raise exception.Conflict(
                    kind='Pod', id=pod.uuid, state='already on this node',
                    remedy='Delete the pod first.')
            choice = None
            try:
                choice = self._choose(pod)
                with self._admission.admit(pod.uuid, choice.cost_mib):
                    image_ids = {c.uuid: self._maker.image(c, pod.project_id)
                                 for c in pod.containers}
                    self._maker.create(pod, choice, image_ids)
            except BaseException as e:
                self._give_up(pod)
                self._emitter.sandbox(
                    'sandbox.create.error', time.time(), sandbox_id=None,
                    handler=choice.handler if choice else None,
                    fault=emitter.fault(e), **making.identity(pod))
                raise
            LOG.info('Created pod %s with %s: %s', pod.uuid, choice.handler,
                     choice.reason)
            return view.pod_status(self._client, self._read(pod.uuid))

    def _choose(self, pod: objects.Pod) -> node.Choice:
        """:raises NoHandler, UnknownRuntime, Unsupported:"""
        if pod.privileged and not self._conf.compute.allow_privileged:
            raise exception.Unsupported(
                operation='privileged containers on this node',
                remedy='Create the container without --privileged, or ask '
                       'the operator to set [compute] allow_privileged.')
        return self._node.choose(
            pod.runtime, pod.needs, self._client.handlers(),
            isolation=pod.isolation,
            cpus=cri_config.cpus(pod) or None,
            memory_mib=cri_config.memory_mib(pod) or None)

    def start(self, pod: objects.Pod) -> objects.PodStatus:
        """Start all containers of a pod.

        Containers that already run are left alone. A stopped container keeps
        its files and its log; it gets a new VM if the old one is gone. If
        the first start of a pod fails, the pod is removed; if a later start
        fails, the pod is stopped as before.

        :raises CommandNotFound: if the image does not have the command
        :raises NotEnoughMemory, NodeFull: if the pod needs a new VM
        """
        cri_config.check(pod)
        with self._lock_soon(pod.uuid):
            found = self._read(pod.uuid)
            fresh = _is_fresh(found)
            try:
                self._start_found(pod, found)
            except BaseException:
                if fresh:
                    self._give_up(pod)
                raise
            return view.pod_status(self._client, self._read(pod.uuid))

    def _start_found(self, pod: objects.Pod, found: view.PodView) -> None:
        """Start containers in the pod's VM, or in a new one if it is gone."""
        if found.ready:
            self._start_in(pod, found)
            return
        choice = self._choose(pod)
        with self._admission.admit(pod.uuid, choice.cost_mib):
            self._start_anew(pod, found, choice)

    def _start_in(self, pod: objects.Pod, found: view.PodView) -> None:
        """Start the containers that do not run, in the existing sandbox."""
        handler = found.sandbox.runtime_handler
        config = self._maker.config_of(pod, found.sandbox)
        idle = all(c.state != pb.CONTAINER_RUNNING
                   for c in found.current_containers())
        replaced = replacement.Replacement(self._client, self._native)
        try:
            for container in pod.containers:
                current = self._maker.settled(pod, container, found, replaced)
                if current.state == pb.CONTAINER_RUNNING or (
                        container.init and _has_run(current, found)):
                    continue
                container_id = current.id
                if (current.state != pb.CONTAINER_CREATED
                        or current.pod_sandbox_id != found.sandbox.id):
                    container_id = self._maker.replace(
                        pod, container, current, found.sandbox.id, config,
                        handler, replaced)
                self._start_one(pod, container, container_id)
        except BaseException:
            if idle:  # stops also those that started before the error
                self._stop_quietly(found.sandbox.id)
            replaced.undo()
            raise
        replaced.finish(found.sandboxes[:-1])

    def _start_anew(self, pod: objects.Pod, found: view.PodView,
                    choice: node.Choice) -> None:
        """Start a stopped pod in a new sandbox."""
        attempt = found.sandbox.metadata.attempt + 1
        replaced = replacement.Replacement(self._client, self._native)
        sandbox_id = ''
        for sandbox in found.sandboxes:
            # a sandbox whose VM died by itself still holds its network
            self._client.stop_pod_sandbox(sandbox.id)
        try:
            sandbox_id, config = self._maker.run_sandbox(pod, choice, attempt)
            for container in pod.containers:
                current = self._maker.settled(pod, container, found, replaced)
                container_id = self._maker.replace(
                    pod, container, current, sandbox_id, config,
                    choice.handler, replaced)
                self._start_one(pod, container, container_id)
        except BaseException:
            if sandbox_id:
                self._stop_quietly(sandbox_id)
            if replaced.undo() and sandbox_id:
                with replacement.going_on(f'Sandbox {sandbox_id}'):
                    self._client.remove_pod_sandbox(sandbox_id)
            raise
        started = {container.uuid for container in pod.containers}
        kept = {c.pod_sandbox_id for c in found.current_containers()
                if c.labels[labels.CONTAINER] not in started}
        replaced.finish([s for s in found.sandboxes if s.id not in kept])

    def _start_one(self, pod: objects.Pod, container: objects.Container,
                   container_id: str) -> None:
        self._maker.start(pod, container, container_id)
        if container.init:
            self._inits.wait(pod.uuid, container, container_id)

    def restart_ended(self, pod_uuid: str) -> None:
        """Start the containers of a pod again whose policy wants it.

        If the VM is gone, they start in a new one, after the init containers.

        :raises NotEnoughMemory, NodeFull: if the pod needs a new VM
        """
        with self.lock(pod_uuid):
            found = view.read(self._client, pod_uuid)
            ended = {status.labels[labels.CONTAINER] for status
                     in policy.wanted(self._client, found)} if found else ()
            if not found or not ended:
                return
            pod = stored_pod.read(self._client, found)
            # what has ended well does not run again, also in a new VM
            pod.containers = [
                c for c in pod.containers
                if c.uuid in ended or c.init and not found.ready]
            self._start_found(pod, found)
            LOG.info('Started %d containers of pod %s again', len(ended),
                     pod_uuid)

    def _stop_quietly(self, sandbox_id: str) -> None:
        with replacement.going_on(f'The VM of sandbox {sandbox_id}'):
            self._client.stop_pod_sandbox(sandbox_id)

    def stop(self, pod_uuid: str, timeout: int) -> objects.PodStatus:
        """Stop a pod's containers and its VM; keep their files.

        :param timeout: seconds between SIGTERM and SIGKILL
        :raises NotFound: if the pod is not on this node
        """
        with self.lock(pod_uuid):
            found = self._read(pod_uuid)
            running = [c.id for c in found.current_containers()
                       if c.state == pb.CONTAINER_RUNNING]
            if timeout > 0 and running:
                # in parallel: the timeout is the whole pod's
                with futures.ThreadPoolExecutor(len(running)) as pool:
                    list(pool.map(request_context.carried(
                        lambda c: self._stop_container(c, timeout)), running))
            for sandbox in found.sandboxes:
                self._client.stop_pod_sandbox(sandbox.id)
            return view.pod_status(self._client, self._read(pod_uuid))

    def _stop_container(self, container_id: str, timeout: int) -> None:
        """Stop a container; if that fails, its VM's end stops it anyway.

        A paused one goes on, as in Docker, because it could not act upon the
        signal.
        """
        try:
            if self._native.is_paused(container_id):
                self._native.resume(container_id)
            self._client.stop_container(container_id, timeout)
        except exception.RuntimeFailed as e:
            LOG.warning('Container %s did not stop and ends with its VM: %s',
                        container_id, e)

    def may_have_lost_its_vm(self, pod_uuid: str) -> bool:
        """Return whether CRI may soon tell that the pod's VM has ended.

        It learns of the containers' ends first.
        """
        found = view.read(self._client, pod_uuid)
        return bool(found and found.ready and view.unexplained(
            view.pod_status(self._client, found)))

    def free_if_ended(self, pod_uuid: str, container_id: str = '',
                      patient: bool = False) -> bool:
        """Stop the VM of a pod whose containers have all exited.

        :param container_id: a CRI container that is known to have ended.
        :param patient: leave a VM that CRI may soon report as dead.
        :returns: False while CRI still believes that it runs, another
            operation has the pod, or the VM may be dead; ask again.
        """
        # Do not wait for another operation: a start may take as long as a
        # tenant's init container runs. The next comparison frees the VM.
        try:
            with self.lock(pod_uuid, blocking=False):
                return self._free_if_ended(pod_uuid, container_id, patient)
        except lockutils.AcquireLockFailedException:
            return False

    def _free_if_ended(self, pod_uuid: str, container_id: str,
                       patient: bool) -> bool:
        found = view.read(self._client, pod_uuid)
        if found is None:
            return True
        if any(c.id == container_id and c.state != pb.CONTAINER_EXITED
               for c in found.containers):
            return False
        if found.ended and not policy.wanted(self._client, found):
            if patient and view.unexplained(
                    view.pod_status(self._client, found)):
                return False
            self._client.stop_pod_sandbox(found.sandbox.id)
            LOG.info('Stopped the VM of pod %s: all its containers have '
                     'exited', pod_uuid)
        return True

    def delete(self, pod_uuid: str, force: bool) -> None:
        """Delete a pod; a pod that is not on this node is not an error.

        :param force: delete it also if containerd cannot stop the sandbox
        """
        with self._inits.given_up(pod_uuid), self._lock_soon(pod_uuid):
            self._delete(pod_uuid, [], force)

    def _give_up(self, pod: objects.Pod) -> None:
        """Remove a pod after an error, without hiding that error."""
        try:
            self._delete(pod.uuid, pod.vifs)
        except exception.KataError as e:
            LOG.error('Pod %s was not removed completely: %s', pod.uuid, e)

    def _delete(self, pod_uuid: str, vifs: builtins.list[objects.Vif],
                force: bool = True) -> None:
        """:param vifs: VIFs to unplug besides those of the sandboxes"""
        found = view.read(self._client, pod_uuid)
        sandboxes = found.sandboxes if found else []
        for sandbox in sandboxes:
            try:
                # kills all its containers without a grace period
                self._client.stop_pod_sandbox(sandbox.id)
            except exception.RuntimeFailed as e:
                if not force:
                    raise
                LOG.warning('Removing sandbox %s of pod %s although it '
                            'cannot be stopped: %s', sandbox.id, pod_uuid, e)
            self._client.remove_pod_sandbox(sandbox.id)
        self._network.release(pod_uuid, sandboxes, vifs)
        self.problems.pop(pod_uuid, None)
        folders.remove(self._conf, pod_uuid)
        with replacement.going_on(f'The disk of pod {pod_uuid}'):
            self.disks.remove(pod_uuid)
        LOG.info('Deleted pod %s', pod_uuid)

    def stop_waiting(self) -> None:
        """Let operations that wait for a tenant's program fail soon."""
        self._inits.stop()

    def sweep(self) -> None:
        """Remove what pods that containerd no longer has have left."""
        lock = functools.partial(self.lock, blocking=False)
        folders.sweep(self._conf, self._native, lock)
        self.disks.sweep(lock)

    @contextlib.contextmanager
    def _lock_soon(self, pod_uuid: str) -> Iterator[None]:
        """Hold a pod, and do not wait for the end of copies."""
        with contextlib.ExitStack() as held:
            with self.interrupts.awaited(pod_uuid):
                held.enter_context(self.lock(pod_uuid))
            yield

    @staticmethod
    def lock(pod_uuid: str, blocking: bool = True
              ) -> contextlib.AbstractContextManager[Any]:
        """Hold a pod: nobody else starts, stops or deletes it meanwhile."""
        return lockutils.lock(f'pod-{pod_uuid}', blocking=blocking)


def _is_fresh(found: view.PodView) -> bool:
    """Whether a pod was never started, and so has no files to lose."""
    newest = found.current_containers()
    return (found.ready and len(found.sandboxes) == 1
            and len(found.containers) == len(newest)
            and all(c.state == pb.CONTAINER_CREATED for c in newest))


def _has_run(container: pb.Container, found: view.PodView) -> bool:
    """Whether an init container has ended in the present sandbox."""
    return (container.state == pb.CONTAINER_EXITED
            and container.pod_sandbox_id == found.sandbox.id)
