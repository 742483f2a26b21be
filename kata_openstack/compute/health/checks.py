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

"""Health checks: run a command in each container that has one, again and again.

The commands are the tenants', so each may hang until its timeout. One project
never has more than a part of the threads.
"""

import collections
from collections.abc import Callable
from concurrent import futures
import dataclasses
import json
import threading
import time

from oslo_log import log as logging

from kata_openstack.compute.health import results
from kata_openstack.compute.pods import labels
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack import stored

LOG = logging.getLogger(__name__)
_LOOK = 1.0  # seconds between two looks at the containers
_THREADS = 64  # mostly they wait for a guest
_PER_PROJECT = 4


@dataclasses.dataclass
class _Checked:
    """A container. ``due``: time.monotonic() of the next check."""

    check: objects.HealthCheck
    pod: str
    project: str
    due: float
    running: bool = False


class Checks:
    """Runs the checks in threads until :meth:`stop`.

    :param told: called with a pod's UUID when its health has changed
    """

    def __init__(self, client: cri.CriClient, native_: native.NativeClient,
                 results_: results.Results,
                 told: Callable[[str], None]) -> None:
        self._client = client
        self._native = native_
        self._results = results_
        self._told = told
        self._lock = threading.Lock()
        self._checked: dict[str, _Checked] = {}
        self._busy: collections.Counter[str] = collections.Counter()
        self._unreadable: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='health',
                                        daemon=True)
        self._pool = futures.ThreadPoolExecutor(
            _THREADS, thread_name_prefix='health')

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Leave the commands in progress to containerd, which ends them."""
        self._stopped.set()
        self._thread.join(10)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        failing = False
        while not self._stopped.wait(_LOOK):
            try:
                self.look(time.monotonic())
                failing = False
            except exception.KataError as e:
                if not failing:
                    LOG.warning('Health checks pause: %s', e)
                failing = True
            except Exception:
                LOG.exception('Unexpected error in the health checks')

    def look(self, now: float) -> None:
        """Begin the checks that are due.

        :param now: time.monotonic()
        :raises KataError: containerd does not answer
        """
        running = {c.id: c for c in self._client.list_containers()
                   if c.state == pb.CONTAINER_RUNNING
                   and c.annotations.get(labels.HEALTH)}
        with self._lock:
            for ident in self._checked.keys() - running.keys():
                del self._checked[ident]
                self._results.forget(ident)
            for ident in running.keys() - self._checked.keys():
                self._add(running[ident], now)
            self._unreadable &= running.keys()
            # who has waited longest comes first
            for ident, one in sorted(self._checked.items(),
                                     key=lambda item: item[1].due):
                if (one.due <= now and not one.running
                        and self._busy[one.project] < _PER_PROJECT):
                    one.running = True
                    self._busy[one.project] += 1
                    self._pool.submit(self._probe, ident, one)

    def _add(self, container: pb.Container, now: float) -> None:
        if container.id in self._unreadable:
            return
        try:
            check = stored.load(objects.HealthCheck, json.loads(
                container.annotations[labels.HEALTH]))
        except ValueError as e:
            LOG.warning('Cannot read the health check of container %s: %s',
                        container.id, e)
            self._unreadable.add(container.id)
            return
        self._checked[container.id] = _Checked(
            check, container.labels.get(labels.POD, ''),
            container.labels.get(labels.PROJECT, ''), now + check.interval)
        self._results.begin(container.id, check.retries)

    def _probe(self, ident: str, one: _Checked) -> None:
        changed = False
        try:
            # a paused container is neither healthy nor unhealthy
            if not self._native.is_paused(ident):
                changed = self._results.add(ident, self._works(ident, one))
        except Exception:
            LOG.exception('Unexpected error in a health check of %s', ident)
        finally:
            with self._lock:
                self._busy[one.project] -= 1
                one.running = False
                one.due = time.monotonic() + one.check.interval
        if changed:
            LOG.info('Container %s of pod %s is %s', ident, one.pod,
                     self._results.words(ident))
            self._told(one.pod)

    def _works(self, ident: str, one: _Checked) -> bool:
        try:
            done = self._client.exec_sync(
                ident, ['/bin/sh', '-c', one.check.test], one.check.timeout)
        except exception.KataError as e:
            LOG.debug('The health check of container %s failed: %s', ident, e)
            return False
        return done.exit_code == 0
