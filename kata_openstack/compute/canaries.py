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
"""Runs a canary sandbox with each handler; reports handlers in doubt."""

from collections.abc import Callable
import dataclasses
import threading
import time
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack import exception
from kata_openstack.runtime.canary import own_image
from kata_openstack.runtime.canary import records
from kata_openstack.runtime.canary import runner
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import importer
from kata_openstack.runtime.hypervisors import base
from kata_openstack.runtime import node

LOG = logging.getLogger(__name__)

_FIRST_RETRY = 5.0  # seconds
_WAITING = base.Problem(
    reason='its canary sandbox has not run yet',
    remedy='Wait: kata-compute offers the handler once its canary sandbox '
           'has passed.')


class Canaries:
    """Runs the canaries in a thread, one at a time.

    :param told: called after each round that ran at least one canary.
    """

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 node_: node.Node, told: Callable[[], Any]) -> None:
        self._conf = conf.canary
        self._file = records.path(conf)
        self._logs = self._file.with_name('canary-logs')
        self._importer = importer.Importer(conf, client)
        self._client = client
        self._node = node_
        self._told = told
        self._records = records.load(self._file)
        self._pulling: set[str] = set()  # handlers that offer guest-pull
        self._pending: frozenset[str] = frozenset()
        self._until = 0.0  # monotonic time until which doubt() waits
        self._changed = threading.Condition()
        self._working = threading.Lock()  # one canary runs at a time
        self._woken = threading.Event()
        self._stopped = False
        self._swept = False
        self._blind = False  # the last look or round failed
        self._thread = threading.Thread(target=self._repeat, name='canary',
                                        daemon=True)
        if self._conf.enabled:
            node_.doubt = self.doubt

    def start(self) -> bool:
        """Find the handlers to try, then start the thread that tries them.

        :returns: True if there is none; else ``told`` is called later
        """
        if not self._conf.enabled:
            return True
        self._look()
        known = not self._pending
        self._woken.set()
        self._thread.start()
        return known

    @property
    def pending(self) -> frozenset[str]:
        """The handlers that are still to be tried."""
        return self._pending

    def stop(self) -> None:
        """Stop the thread; wait for it for 1 s at most.

        The next process removes a canary sandbox that is still starting.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._woken.set()
        if self._thread.ident:
            self._thread.join(1)

    def wake(self) -> None:
        """Check soon whether containerd's handlers have changed."""
        self._woken.set()

    def doubt(self, handler: str) -> base.Problem | None:
        """Return the problem of a handler; None if its canary passed.

        Waits while the canary is pending, for at most [canary] wait seconds
        since it became so. A handler without a result is in doubt, for any
        reason that kept it from being tried.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or handler not in self._pending,
                max(0.0, self._until - time.monotonic()))
            record = self._records.get(handler)
            if handler in self._pending or record is None:
                return _WAITING
            return None if record.passed else record.problem()

    def try_candidate(self, handler: str, take_over: Callable[[], Any]
                      ) -> records.Record:
        """Run the canary of a handler with the candidate for its guest.

        If it passes, ``take_over`` makes the candidate the guest of the
        handler, which needs no other canary then.

        :raises KataError: containerd did not answer
        :raises OSError: from ``take_over``
        """
        with self._working:
            record = runner.run(
                self._client, handler, '', image_name=self._image(handler),
                logs=self._logs, guest='candidate')
            self._swept = self._swept and record.passed
            if record.passed:
                take_over()
                record = dataclasses.replace(
                    record, key=runner.keys(self._client).get(handler, ''))
                self._records = {**self._records, handler: record}
                records.store(self._file, self._records)
        return record

    def _repeat(self) -> None:
        while True:
            self._woken.wait(self._pause())
            self._woken.clear()
            if self._stopped:
                return
            try:
                with self._working:
                    self._round()
            except exception.KataError as e:
                LOG.warning('Could not run the canary sandboxes: %s', e)
                self._give_up()
            except Exception:
                if self._stopped:  # the client was closed meanwhile
                    return
                LOG.exception('Unexpected error in the canary sandboxes')
                self._give_up()

    def _give_up(self) -> None:
        """End the wait of doubt(); untried handlers stay in doubt."""
        self._blind = True
        self._swept = False  # a canary sandbox may remain
        self._expect(frozenset())

    def _expect(self, names: frozenset[str]) -> None:
        with self._changed:
            if names - self._pending:
                self._until = time.monotonic() + self._conf.wait
            self._pending = names
            self._changed.notify_all()

    def _pause(self) -> float | None:
        """Return the seconds until the next retry; None if there is none."""
        if self._blind:
            return _FIRST_RETRY
        due = [self._due(r) for r in self._records.values() if not r.passed]
        return max(_FIRST_RETRY, min(due) - time.time()) if due else None

    def _due(self, record: records.Record) -> float:
        """Return when to try again, in seconds since 1970."""
        return record.at + min(_FIRST_RETRY * 2 ** (record.failures - 1),
                               self._conf.retry_interval)

    def _look(self) -> dict[str, str]:
        """Find the handlers without a result and mark them as pending.

        :returns: the keys of all handlers that are usable apart from the
            canary; empty without containerd
        """
        try:
            keys = runner.keys(self._client)
            self._blind = False
        except exception.KataError as e:
            LOG.debug('No handlers to try: %s', e)
            keys, self._blind = {}, True
        usable = {s.name: s for s in self._node.handlers(keys, doubted=False)
                  if s.usable}
        self._pulling = {name for name, state in usable.items()
                         if 'guest-pull' in state.offers}
        keys = {name: key for name, key in keys.items() if name in usable}
        if keys:
            self._records = {name: record
                             for name, record in self._records.items()
                             if record.key == keys.get(name)}
        self._expect(frozenset(keys.keys() - self._records.keys()))
        return keys

    def _round(self) -> None:
        keys = self._look()
        if keys and not self._swept:
            runner.sweep(self._client)
            self._swept = True
        told = False
        for name, key in keys.items():
            known = self._records.get(name)
            if self._stopped or known and (
                    known.passed or self._due(known) > time.time()):
                continue
            self._try(name, key, known.failures if known else 0)
            told = True
        if told:
            self._told()

    def _image(self, handler: str) -> str | None:
        """Return the image of the canary's container; import it if needed.

        None where our image cannot run: it exists for one architecture only,
        and guests that pull images themselves find it in no registry.
        """
        if (self._node.host.cpu.architecture != own_image.ARCHITECTURE
                or handler in self._pulling):
            return None
        own = own_image.image()
        self._importer.ensure(own)
        return own.name

    def _try(self, name: str, key: str, failures: int) -> None:
        record = runner.run(self._client, name, key, failures,
                             image_name=self._image(name), logs=self._logs)
        if self._stopped and not record.passed:
            return  # the client was closed meanwhile: the handler may be sound
        if record.passed:
            LOG.info('The canary sandbox of %s passed in %.2f s', name,
                     record.seconds)
        else:
            LOG.error('The canary sandbox of %s failed after %.2f s: %s',
                      name, record.seconds, record.error)
            self._swept = False  # its sandbox may remain in containerd
        self._records = {**self._records, name: record}
        records.store(self._file, self._records)
        self._expect(self._pending - {name})
