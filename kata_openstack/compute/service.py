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

"""The kata-compute service: builds its parts, starts and stops them."""

import signal
import socket
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
import oslo_messaging as messaging

from kata_openstack.compute.archives import copying
from kata_openstack.compute.archives import spool
from kata_openstack.compute import canaries
from kata_openstack.compute.console import consoles
from kata_openstack.compute.events import changes
from kata_openstack.compute.events import follower
from kata_openstack.compute import guest_updates
from kata_openstack.compute.health import checks
from kata_openstack.compute.health import results
from kata_openstack.compute.images import store
from kata_openstack.compute import inventory
from kata_openstack.compute import lanes
from kata_openstack.compute.logs import rotation
from kata_openstack.compute import manager
from kata_openstack.compute.network import cni_server
from kata_openstack.compute.network import plugging
from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import endings
from kata_openstack.compute.pods import lifecycle
from kata_openstack.compute.restarts import restarter
from kata_openstack.compute import rpcapi
from kata_openstack.compute.usage import resizing
from kata_openstack.compute.usage import stats
from kata_openstack.compute.usage import top
from kata_openstack import exception
from kata_openstack.notifications import emitter
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.host.checks import containerd_api
from kata_openstack.runtime import node

LOG = logging.getLogger(__name__)


class Service:
    """kata-compute; serves from start() to stop(), in its own threads."""

    def __init__(self, conf: cfg.ConfigOpts, node_: node.Node | None = None,
                 transport: messaging.Transport | None = None,
                 notification_transport: messaging.Transport | None = None
                 ) -> None:
        self._conf = conf
        self.client = cri.CriClient(conf)
        self.native = native.NativeClient(conf, self.client.channel)
        self.node = node_ or node.Node(
            conf, containerd=native.NativeClient(
                conf, self.client.channel, containerd_api.TIMEOUT))
        self.network = plugging.Network(conf, self.client)
        self.images = store.Images(conf, self.client, self.native)
        self._emitter = tell = emitter.Emitter(conf, notification_transport)
        health = results.Results()
        self.pods = lifecycle.Pods(conf, self.client, self.native, self.node,
                                   self.images, self.network, tell, health)
        self.containers = containers.Containers(conf, self.client,
                                                self.native)
        self.consoles = consoles.Consoles(conf, self.client, self.native,
                                          self.containers)
        self.inventory = inventory.Inventory(
            conf, self.client, self.native, self.node, self.pods.disks)
        self.stats = stats.Stats(self.client, self.native,
                                 self.containers, self.network)
        self.top = top.Top(conf, self.client, self.containers)
        self.resizing = resizing.Resizing(conf, self.client,
                                          self.containers)
        self._spools = spool.Spools(self.images.space)
        self.copying = copying.Copying(conf, self.client, self.native,
                                       self.pods, self.containers,
                                       self._spools)
        self.canaries = canaries.Canaries(conf, self.client, self.node,
                                          told=self.inventory.get)
        self._updates = guest_updates.GuestUpdates(conf, self.canaries)
        self._changes = changes.Changes()
        self._checks = checks.Checks(self.client, self.native, health,
                                     self._changes.note)
        self._restarter = restarter.Restarter(self.client, self.pods,
                                              self._changes.note)
        self._endings = endings.Endings(self.client, self.pods, self._ended)
        self._events = follower.EventFollower(
            conf, self.client, self.native, tell,
            ended=self._endings.container_ended, resynced=self._resynced)
        self._logs = rotation.LogRotation(conf, self.client)
        self._cni = cni_server.CniServer(conf.cni.socket_path, self.network)
        self._own = transport is None
        self._transport = transport or messaging.get_rpc_transport(
            conf, allowed_remote_exmods=[exception.__name__])
        self._server = messaging.get_rpc_server(
            self._transport,
            messaging.Target(exchange=rpcapi.EXCHANGE, topic=rpcapi.TOPIC,
                             server=conf.host),
            [manager.ComputeManager(self.pods, self.containers, self.images,
                                    self.inventory, self.stats, self.top,
                                    self.resizing, self._changes,
                                    self.consoles, self.copying),
             manager.Versions()],
            executor='threading',
            access_policy=messaging.DefaultRPCAccessPolicy)

    def start(self) -> None:
        """Start all parts: reconcile before serving requests."""
        self._emitter.start()
        self.network.reconcile()
        self._cni.start()
        if self.canaries.start():
            self.inventory.get()  # logs which handlers this node can run
        self._events.start()
        self._logs.start()
        self._checks.start()
        self._updates.start()
        self.consoles.start()
        self._server.start(override_pool_size=lanes.THREADS)
        LOG.info('kata-compute serves %s', self._conf.host)

    def _ended(self, pod_uuid: str) -> None:
        self._changes.note(pod_uuid)
        self._restarter.check(pod_uuid)

    def _resynced(self) -> None:
        # first: the others may fail or take long
        self._endings.check_all()
        self._restarter.check_all()
        # a device, a kernel module or Kata may have been added since
        self.node.refresh(measure=False)
        self.network.reconcile()
        self.canaries.wake()
        self.pods.sweep()
        self.images.cleanup.run()
        self._spools.expire()

    def stop(self) -> None:
        """Finish the requests in progress but copies; stop all parts."""
        self._updates.stop()
        self.canaries.stop()
        self._changes.close()
        self.pods.stop_waiting()
        self.pods.interrupts.stop()
        self._server.stop()
        self._server.wait()
        self._checks.stop()
        self.consoles.stop()
        self._events.stop()
        self._endings.stop()
        self._restarter.stop()
        self._logs.stop()
        self._cni.stop()
        self._emitter.stop()
        if self._own:
            self._transport.cleanup()
        self.client.close()
        LOG.info('kata-compute has stopped')


def run(service: Service) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    # A signal just before a wait for a lock would be missed; a byte in a
    # socket stays until it is read.
    wakeup, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    service.start()
    while not stopping:
        wakeup.recv(16)
    service.stop()
    signal.set_wakeup_fd(-1)
