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

"""Plugs and unplugs the interfaces of pods, for CNI requests."""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import threading
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack.compute.network import cni_result
from kata_openstack.compute.network.vif import base
from kata_openstack.compute.network.vif import link
from kata_openstack.compute.network.vif import plugins
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import view
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)


class Network:
    """The interfaces of the pods of this node. Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._expected: dict[str, Sequence[objects.Vif]] = {}
        self._failures: dict[str, exception.KataError] = {}
        # of each expected pod: its sandboxes that a DEL has ended
        self._deleted: dict[str, set[str]] = {}
        self._unclean = True
        self._plugins = plugins.load(conf)

    @contextlib.contextmanager
    def expect(self, pod_uuid: str,
               vifs: Sequence[objects.Vif]) -> Iterator[None]:
        """Let CNI plug these VIFs while the context is active.

        containerd lists a sandbox only after its network exists, so requests
        of kata-cni are answered from this process's memory. If one fails,
        its error is raised here, not containerd's report of it.
        """
        for vif in vifs:
            plugins.check(self._plugins, vif)
        with self._lock:
            self._expected[pod_uuid] = vifs
        try:
            yield
        except exception.KataError as e:
            with self._lock:
                failure = self._failures.pop(pod_uuid, None)
            if failure is not None:
                raise failure from e
            raise
        finally:
            with self._lock:
                self._expected.pop(pod_uuid, None)
                self._failures.pop(pod_uuid, None)
                self._deleted.pop(pod_uuid, None)

    def add(self, pod_uuid: str, sandbox_id: str, netns: str
            ) -> dict[str, Any]:
        """CNI ADD: plug all VIFs of a pod, the first one as eth0.

        :returns: a CNI result without cniVersion
        :raises NotFound: if no sandbox of the pod is being created
        :raises NetworkFailed:
        """
        with self._lock:
            vifs = self._expected.get(pod_uuid)
        if vifs is None:
            raise exception.NotFound(kind='Pod', id=pod_uuid)
        for index, vif in enumerate(vifs):
            try:
                plugins.of(self._plugins, vif).plug(
                    vif, netns, f'eth{index}', pod_uuid=pod_uuid,
                    sandbox_id=sandbox_id)
            except Exception as e:
                if isinstance(e, exception.KataError):
                    with self._lock:
                        if pod_uuid in self._expected:
                            self._failures[pod_uuid] = e
                self.unplug(vifs[:index])
                raise
            self._check_wanted(pod_uuid, sandbox_id, vifs, index)
        return cni_result.success(vifs, netns)

    def _check_wanted(self, pod_uuid: str, sandbox_id: str,
                      vifs: Sequence[objects.Vif], index: int) -> None:
        """Unplug what was plugged too late, up to ``index``.

        kata-cni gives up while a switch is slow. Then the DEL may have come
        before the plug, and no other DEL follows.

        :raises NetworkFailed: if the sandbox is no longer being created
        """
        with self._lock:
            if (self._expected.get(pod_uuid) is vifs and sandbox_id
                    not in self._deleted.get(pod_uuid, ())):
                return
        # the next sandbox of the pod may have some of the ports by now
        self.unplug([v for v in vifs[:index + 1] if link.alias(
            base.device_name(v.port_id)) == sandbox_id])
        self._unclean = True
        raise exception.NetworkFailed(
            id=vifs[index].port_id,
            why=f'sandbox {sandbox_id} is no longer being created',
            remedy='Check why the switch of this node is slow, then start '
                   'the container again.')

    def delete(self, pod_uuid: str, sandbox_id: str) -> None:
        """CNI DEL: unplug only the interfaces of this sandbox.

        containerd repeats DEL whenever it stops or removes a sandbox. That
        may be an old sandbox of a pod whose new one already uses the ports.
        """
        with self._lock:
            vifs = self._expected.get(pod_uuid)
            if vifs is not None:
                self._deleted.setdefault(pod_uuid, set()).add(sandbox_id)
        if vifs is None:
            found = self._client.list_pod_sandboxes(
                {labels.POD: pod_uuid}, sandbox_id)
            vifs = view.vifs(found[0]).readable if found else []
        self.unplug([v for v in vifs if link.alias(
            base.device_name(v.port_id)) in ('', sandbox_id)])

    def check(self, pod_uuid: str, sandbox_id: str) -> None:
        """CNI CHECK. :raises NetworkFailed: if an interface is missing"""
        for sandbox in self._client.list_pod_sandboxes(
                {labels.POD: pod_uuid}, sandbox_id):
            for vif in view.vifs(sandbox).readable:
                if not link.exists(base.device_name(vif.port_id)):
                    raise exception.NetworkFailed(
                        id=vif.port_id, why='its interface is missing',
                        remedy='Restart the container.')

    def unplug(self, vifs: Sequence[objects.Vif]) -> None:
        """Unplug VIFs. Never raises.

        A pod can be deleted while a switch is down; the next reconciliation
        removes the interfaces that remain.
        """
        for vif in vifs:
            plugin = self._plugins.get(vif.vif_type)
            try:
                if plugin:
                    plugin.unplug(vif)
            except exception.KataError as e:
                LOG.warning('Port %s was not unplugged completely: %s',
                            vif.port_id, e)
                self._unclean = True

    def release(self, pod_uuid: str, sandboxes: Sequence[pb.PodSandbox],
                vifs: Sequence[objects.Vif]) -> None:
        """Unplug the ports of a pod that is being deleted. Never raises.

        A port that another pod may use by now is left alone.

        :param vifs: VIFs besides those of the sandboxes
        """
        plugged = {vif.port_id: vif for vif in vifs}
        for found in map(view.vifs, sandboxes):
            plugged.update((vif.port_id, vif) for vif in found.readable)
            if not found.complete:
                self._unclean = True
        sandbox_ids = {sandbox.id for sandbox in sandboxes}
        for vif in plugged.values():
            owner = link.alias(base.device_name(vif.port_id))
            if owner in sandbox_ids or (
                    not owner and self._is_free(vif, pod_uuid)):
                self.unplug([vif])
            else:
                # the owner may be a sandbox that containerd never listed
                self._unclean = True

    def _is_free(self, vif: objects.Vif, pod_uuid: str) -> bool:
        """Whether it is certain that no other pod has the port."""
        try:
            return vif.port_id not in self._port_ids(but=pod_uuid)
        except exception.KataError as e:
            LOG.warning('Port %s was not unplugged: another pod may use it: '
                        '%s', vif.port_id, e)
            return False

    def _port_ids(self, but: str = '') -> set[str]:
        """Return the port IDs of all pods of this node.

        :param but: UUID of a pod to leave out
        """
        # Read the pods that are being created first: one that is finished
        # meanwhile is in containerd's list, so none is missed.
        with self._lock:
            ports = {vif.port_id for pod_uuid, vifs in self._expected.items()
                     for vif in vifs if pod_uuid != but}
        return ports.union(*(
            view.vifs(sandbox).port_ids
            for pod in view.read_all(self._client).values()
            for sandbox in pod.sandboxes if pod.uuid != but))

    def traffic(self, vifs: Sequence[objects.Vif]) -> tuple[int, int]:
        """Return the bytes (received, sent) by a pod since its last start."""
        pairs = [link.traffic(base.device_name(v.port_id)) for v in vifs]
        return sum(p[0] for p in pairs), sum(p[1] for p in pairs)

    def reconcile(self) -> None:
        """Remove interfaces of pods that no longer exist. Never raises.

        Does nothing unless there may be some: in a new process, and after an
        unplug that failed or was omitted.
        """
        if not self._unclean:
            return
        self._unclean = False
        for name, plugin in self._plugins.items():
            try:
                for device in plugin.reconcile(self._port_ids):
                    LOG.info('Removed interface %s of a pod that no longer '
                             'exists', device)
            except exception.KataError as e:
                self._unclean = True
                LOG.info('Could not reconcile VIF type %s: %s', name, e)
            except Exception:  # one plugin must not keep us from starting
                self._unclean = True
                LOG.exception('Unexpected error in the reconciliation of VIF '
                              'type %s', name)
