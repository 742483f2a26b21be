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

"""Follows containerd's events and sends a notification for each.

Every sandbox and container goes through created, started, exited, deleted.
The journal holds the last phase that was reported for each, so an event is
reported once, whether it comes from the stream or from a comparison with
containerd after the stream was broken. It is reported again if kata-compute
ended between the sending and the saving of the journal. A comparison cannot
report the exit code of a container that is gone, or an event that was
repeated in between.
"""

from collections.abc import Callable
import pathlib
import threading
import time
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack.compute.events import journal
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack.notifications import emitter
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import events
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import containers_pb2
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)

_RECONNECT_PAUSE = 1.0  # seconds after an unexpected error
_SIGKILL = 137  # exit code
_KIND = 'io.cri-containerd.kind'  # containerd's: sandbox or container


class EventFollower:
    """Follows containerd in two threads.

    One thread reads the event stream. After each connection it also
    compares the journal with containerd. The other thread compares them
    every [compute] resync_interval seconds.

    :param ended: called with the pod's UUID and the id of the CRI container,
        '' for its sandbox, for each end that the stream reports; a comparison
        does not call it
    :param resynced: called after each comparison that did not fail
    """

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 native_: native.NativeClient, emitter_: emitter.Emitter,
                 ended: Callable[[str, str], Any],
                 resynced: Callable[[], Any] = lambda: None) -> None:
        self._client = client
        self._native = native_
        self._emitter = emitter_
        self._ended = ended
        self._resynced = resynced
        self._interval = conf.compute.resync_interval
        self._stream = events.EventStream(conf, client.channel)
        self._journal = journal.Journal(
            pathlib.Path(conf.state_path) / 'events.json',
            emitter_.after_sent)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (('events', self._follow),
                                 ('resync', self._repeat))]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._stream.stop()
        for thread in self._threads:
            thread.join(10)

    def _follow(self) -> None:
        """Read the stream until stop(); connect again after any error."""
        while not self._stopped.is_set():
            try:
                self._read_stream()
                return
            except Exception:
                LOG.exception("Unexpected error in containerd's event "
                              'stream; connecting again')
                self._stopped.wait(_RECONNECT_PAUSE)

    def _read_stream(self) -> None:
        for event in self._stream:
            try:
                with self._lock:
                    self._handle(event)
                    self._journal.save()
                if event.topic == events.CONNECTED:
                    self._resynced()
            except exception.KataError as e:
                LOG.warning('Could not process event %s: %s', event.topic, e)
            except Exception:
                LOG.exception('Unexpected error in event %s', event.topic)

    def _repeat(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                with self._lock:
                    self._resync()
                    self._journal.save()
                self._resynced()
            except exception.KataError as e:
                LOG.warning('Could not compare with containerd: %s', e)
            except Exception:
                LOG.exception('Unexpected error in the comparison with '
                              'containerd')

    def _handle(self, event: events.Event) -> None:
        body = event.body
        if event.topic == events.CONNECTED:
            LOG.info("Connected to containerd's event stream")
            self._resync()
        elif event.topic == '/containers/create':
            try:
                self._created(self._native.container(body.id),
                              event.timestamp)
            except exception.NotFound:
                LOG.debug('Container %s was removed before it was read',
                          body.id)
        elif event.topic == '/tasks/start':
            self._reach(body.container_id, journal.STARTED, event.timestamp)
        elif event.topic == '/tasks/oom':
            if body.container_id in self._journal:
                self._journal[body.container_id].oom = True
        elif event.topic == '/tasks/exit' and body.id == body.container_id:
            self._reach(body.container_id, journal.EXITED, event.timestamp,
                        body.exit_status)
        elif event.topic == '/tasks/delete':
            entry = self._journal.get(body.container_id)
            if entry and entry.phase == journal.EXITED:
                # the end of a sandbox may explain that of its containers
                self._ended(entry.labels[labels.POD], '' if entry.sandbox
                            else body.container_id)
        elif event.topic == '/containers/delete':
            self._deleted(body.id, event.timestamp)

    # The phases; each is reported once.

    def _created(self, record: containers_pb2.Container,
                 when: float) -> None:
        if record.id in self._journal:
            return
        entry = _entry(record, record.labels.get(_KIND) == 'sandbox')
        if entry is None:
            return
        replacing = self._others(entry)
        self._journal[record.id] = entry
        if not replacing:
            self._tell(record.id, 'create.end', when)

    def _reach(self, ident: str, phase: str, when: float,
               exit_code: int | None = None) -> None:
        entry = self._journal.get(ident)
        order = journal.PHASES.index
        if entry is None or order(entry.phase) >= order(phase):
            return
        entry.phase = phase
        if phase == journal.STARTED:
            self._tell(ident, 'start.end', when)
            return
        extra: dict[str, Any] = {'exit_code': exit_code}
        # else another process was killed, and the main process went on
        if entry.oom and not entry.sandbox and exit_code == _SIGKILL:
            extra['reason'] = 'OOMKilled'
        self._tell(ident, 'exit', when, **extra)

    def _deleted(self, ident: str, when: float) -> None:
        entry = self._journal.get(ident)
        if entry is None:
            return
        if entry.phase == journal.STARTED:
            self._reach(ident, journal.EXITED, when)
        # A container that is started again is replaced in containerd; for
        # users it is the same container.
        if not self._others(entry, ident):
            self._tell(ident, 'delete.end', when)
        del self._journal[ident]

    def _others(self, entry: journal.Entry, ident: str = '') -> bool:
        """Whether the same container has another CRI container."""
        return not entry.sandbox and any(
            not other.sandbox and key != ident
            and other.labels[labels.CONTAINER]
            == entry.labels[labels.CONTAINER]
            for key, other in self._journal.items())

    def _tell(self, ident: str, step: str, when: float,
              **extra: Any) -> None:
        entry = self._journal[ident]
        found = entry.labels
        common = {'pod_uuid': found[labels.POD],
                  'kind': found.get(labels.KIND, 'container'),
                  'project_id': found.get(labels.PROJECT, ''),
                  'user_id': found.get(labels.USER, ''),
                  'handler': found.get(labels.HANDLER), **extra}
        if entry.sandbox:
            self._emitter.sandbox(f'sandbox.{step}', when, sandbox_id=ident,
                                  **common)
        else:
            self._emitter.container(
                f'container.{step}', when, container_id=ident,
                uuid=found[labels.CONTAINER], image=entry.image, **common)

    # Comparison

    def _resync(self) -> None:
        """Report the missed events, from the state in containerd now."""
        now = time.time()
        silent = self._journal.fresh
        records = {r.id: r for r in self._native.containers(
            [f'labels."{labels.POD}"'])}
        sandboxes = {s.id: s for s in self._client.list_pod_sandboxes()}
        containers = {c.id: c for c in self._client.list_containers()}
        for ident, record in records.items():
            if silent:
                # without a journal, assume that everything was reported
                self._adopt(record, sandboxes.get(ident),
                            containers.get(ident))
                continue
            self._created(record, now)
            if ident in containers:
                self._compare(containers[ident])
            elif ident in sandboxes:
                ready = sandboxes[ident].state == pb.SANDBOX_READY
                self._reach(ident, journal.STARTED, now)
                if not ready:
                    self._reach(ident, journal.EXITED, now)
        for ident in [i for i in self._journal if i not in records]:
            self._deleted(ident, now)

    def _compare(self, container: pb.Container) -> None:
        if container.state == pb.CONTAINER_CREATED:
            return
        entry = self._journal.get(container.id)
        if entry is None or entry.phase == journal.EXITED or (
                entry.phase == journal.STARTED
                and container.state == pb.CONTAINER_RUNNING):
            return
        try:
            status = self._client.container_status(container.id).status
        except exception.NotFound:
            return
        if status.started_at > 0:
            self._reach(container.id, journal.STARTED,
                        status.started_at / 1e9)
        if status.state == pb.CONTAINER_EXITED:
            entry.oom = entry.oom or status.reason == 'OOMKilled'
            self._reach(container.id, journal.EXITED,
                        status.finished_at / 1e9, status.exit_code)

    def _adopt(self, record: containers_pb2.Container,
               sandbox: pb.PodSandbox | None,
               container: pb.Container | None) -> None:
        if sandbox:
            phase = (journal.STARTED if sandbox.state == pb.SANDBOX_READY
                     else journal.EXITED)
        elif container:
            phase = {pb.CONTAINER_CREATED: journal.CREATED,
                     pb.CONTAINER_RUNNING: journal.STARTED}.get(
                         container.state, journal.EXITED)
        else:  # it is being created: its events will follow
            return
        entry = _entry(record, sandbox is not None)
        if entry is not None:
            entry.phase = phase
            self._journal[record.id] = entry


def _entry(record: containers_pb2.Container,
           sandbox: bool) -> journal.Entry | None:
    """Return a new entry; None if the labels do not say whose it is."""
    try:
        return journal.Entry(
            sandbox=sandbox, image=record.image,
            labels={k: v for k, v in record.labels.items()
                    if k.startswith(labels.PREFIX)})
    except ValueError as e:
        LOG.debug('Ignoring container %s: %s', record.id, e)
        return None
