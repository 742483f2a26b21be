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

"""The interfaces of pods: which, whose, and what CNI is told of them."""

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import threading
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
from stevedore import extension

from kata_openstack.compute.network.vif import base
from kata_openstack.compute.network.vif import link
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import view
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri

LOG = logging.getLogger(__name__)

NAMESPACE = 'kata_openstack.vif'

# containerd insists on an address of eth0. A pod without a port has no
# interface; this one, of the link-local range, is told instead.
_NO_ADDRESS = '169.254.0.1/32'


class Network:
    """Threads may share it."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._expected: dict[str, Sequence[objects.Vif]] = {}
        self._failures: dict[str, exception.KataError] = {}
        self._unclean = True
        manager: Any = extension.ExtensionManager(
            NAMESPACE, invoke_on_load=True, invoke_args=(conf,),
            on_load_failure_callback=_load_failure)
        self._plugins: dict[str, base.VifPlugin] = {
            e.name: e.obj for e in manager}

    def _plugin(self, vif: objects.Vif) -> base.VifPlugin:
        try:
            return self._plugins[vif.vif_type]
        except KeyError:
            raise exception.NetworkFailed(
                id=vif.port_id,
                why=f'its VIF type is {vif.vif_type!r}',
                remedy='Check that the Neutron agent of this node is alive '
                       'and can bind the port; VIF types that can be used: '
                       f'{", ".join(sorted(self._plugins))}.') from None

    @contextlib.contextmanager
    def expect(self, pod_uuid: str,
               vifs: Sequence[objects.Vif]) -> Iterator[None]:
        """While in it, CNI may ask for these.

        containerd does not list a sandbox before its network is there, so
        the request of kata-cni is answered from this process' memory. A
        failure in it is raised here as it was, not as told by containerd.
        """
        for vif in vifs:
            self._plugin(vif)
            if not vif.fixed_ips:
                raise exception.NetworkFailed(
                    id=vif.port_id, why='it has no IP address',
                    remedy=f'Create a subnet in network {vif.network_id}.')
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

    def add(self, pod_uuid: str, sandbox_id: str, netns: str
            ) -> dict[str, Any]:
        """CNI ADD: plug all VIFs of a pod, the first one as eth0.

        :returns: a CNI result without its version
        :raises NotFound: for a pod that nobody is making
        :raises NetworkFailed:
        """
        with self._lock:
            vifs = self._expected.get(pod_uuid)
        if vifs is None:
            raise exception.NotFound(kind='Pod', id=pod_uuid)
        for index, vif in enumerate(vifs):
            try:
                self._plugin(vif).plug(
                    vif, netns, f'eth{index}', pod_uuid=pod_uuid,
                    sandbox_id=sandbox_id)
            except exception.KataError as e:
                with self._lock:
                    self._failures[pod_uuid] = e
                self.unplug(vifs[:index])
                raise
        return cni_result(vifs, netns)

    def delete(self, pod_uuid: str, sandbox_id: str) -> None:
        """CNI DEL: unplug what this sandbox has, and only that.

        containerd repeats DEL whenever it stops or removes a sandbox, also
        a former one of a pod whose ports the next one uses by then.
        """
        with self._lock:
            vifs = self._expected.get(pod_uuid)
        if vifs is None:
            found = self._client.list_pod_sandboxes(
                {labels.POD: pod_uuid}, sandbox_id)
            vifs = view.vifs(found[0].annotations) if found else []
        self.unplug([v for v in vifs if link.alias(
            base.device_name(v.port_id)) in ('', sandbox_id)])

    def check(self, pod_uuid: str, sandbox_id: str) -> None:
        """CNI CHECK. :raises NetworkFailed: if an interface is not there"""
        for sandbox in self._client.list_pod_sandboxes(
                {labels.POD: pod_uuid}, sandbox_id):
            for vif in view.vifs(sandbox.annotations):
                if not link.exists(base.device_name(vif.port_id)):
                    raise exception.NetworkFailed(
                        id=vif.port_id, why='its interface is gone',
                        remedy='Restart the container.')

    def unplug(self, vifs: Sequence[objects.Vif]) -> None:
        """Never raises: a pod can be deleted while a switch is down.

        What is left is removed by the next reconciliation.
        """
        for vif in vifs:
            plugin = self._plugins.get(vif.vif_type)
            try:
                if plugin:
                    plugin.unplug(vif)
            except exception.KataError as e:
                LOG.warning('Something is left of port %s: %s', vif.port_id,
                            e)
                self._unclean = True

    def release(self, pod_uuid: str, sandbox_ids: Collection[str],
                vifs: Sequence[objects.Vif]) -> None:
        """Unplug what a pod that is deleted still has. Never raises.

        Another pod may use its ports by now.

        :param sandbox_ids: the pod's
        """
        for vif in vifs:
            owner = link.alias(base.device_name(vif.port_id))
            if owner in sandbox_ids or (
                    not owner and self._is_free(vif, pod_uuid)):
                self.unplug([vif])
            else:
                # or it is of a sandbox that containerd never listed
                self._unclean = True

    def _is_free(self, vif: objects.Vif, pod_uuid: str) -> bool:
        """Whether no other pod has the port, for certain."""
        try:
            return vif.port_id not in self._port_ids(but=pod_uuid)
        except exception.KataError as e:
            LOG.warning('Something may be left of port %s: %s', vif.port_id,
                        e)
            return False

    def _port_ids(self, but: str = '') -> set[str]:
        """Those of all pods of this node.

        :param but: a pod that does not count
        """
        # those that are being made first: then they cannot be missed
        with self._lock:
            ports = {vif.port_id for pod_uuid, vifs in self._expected.items()
                     for vif in vifs if pod_uuid != but}
        return ports | {vif.port_id
                        for pod in view.read_all(self._client).values()
                        for sandbox in pod.sandboxes if pod.uuid != but
                        for vif in view.vifs(sandbox.annotations)}

    def traffic(self, vifs: Sequence[objects.Vif]) -> tuple[int, int]:
        """Bytes (received, sent) by the pod, since its last start."""
        pairs = [link.traffic(base.device_name(v.port_id)) for v in vifs]
        return sum(p[0] for p in pairs), sum(p[1] for p in pairs)

    def reconcile(self) -> None:
        """Remove interfaces of pods that are gone. Never raises.

        Does nothing unless there may be some: when the process is new, and
        after an unplug that failed.
        """
        if not self._unclean:
            return
        self._unclean = False
        for name, plugin in self._plugins.items():
            try:
                for device in plugin.reconcile(self._port_ids):
                    LOG.info('Removed interface %s of a former pod', device)
            except exception.KataError as e:
                self._unclean = True
                LOG.info('No reconciliation of VIF type %s: %s', name, e)


def _load_failure(manager: Any, entry_point: Any,
                  error: BaseException) -> None:
    LOG.error('VIF plugin %s cannot be loaded: %s', entry_point.name, error)


def cni_result(vifs: Sequence[objects.Vif], netns: str) -> dict[str, Any]:
    """What CNI's specification (0.3 to 1.0) calls a success result."""
    interfaces: list[dict[str, Any]] = []
    ips: list[dict[str, Any]] = []
    routes: list[dict[str, Any]] = []
    for index, vif in enumerate(vifs):
        interfaces.append({'name': f'eth{index}', 'mac': vif.mac_address,
                           'sandbox': netns})
        for fixed in vif.fixed_ips:
            address: dict[str, Any] = {
                'address': f'{fixed.address}/{fixed.prefixlen}',
                'interface': index}
            if fixed.gateway:
                address['gateway'] = fixed.gateway
            ips.append(address)
            routes += [{'dst': r.destination, 'gw': r.gateway}
                       for r in fixed.routes]
    if not vifs:
        interfaces.append({'name': 'eth0', 'sandbox': netns})
        ips.append({'address': _NO_ADDRESS, 'interface': 0})
    return {'interfaces': interfaces, 'ips': ips, 'routes': routes, 'dns': {}}
