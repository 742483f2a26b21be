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

"""Sends notifications; the work never waits for them, nor fails with them.

oslo.messaging retries for ever while the broker is away, so a thread of its
own sends, in the order of the events.
"""

import datetime
import queue
import threading
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
import oslo_messaging as messaging

from kata_openstack.notifications import objects

LOG = logging.getLogger(__name__)

# Every event type that there is.
EVENTS = (
    'sandbox.create.end', 'sandbox.create.error', 'sandbox.start.end',
    'sandbox.exit', 'sandbox.delete.end',
    'container.create.end', 'container.start.end', 'container.start.error',
    'container.exit', 'container.delete.end',
)

_MAX_QUEUED = 10000
_LAST_SECONDS = 5.0  # for what is queued when the process ends


class Emitter:
    """Threads may share it. What is sent before start() is sent then."""

    def __init__(self, conf: cfg.ConfigOpts,
                 transport: messaging.Transport | None = None) -> None:
        """:param transport: None: as [oslo_messaging_notifications] says"""
        self.host: str = conf.host
        self._notifier: messaging.Notifier | None = None
        self._queue: queue.SimpleQueue[tuple[str, Any] | None] = (
            queue.SimpleQueue())
        self._thread = threading.Thread(target=self._run, name='notify',
                                        daemon=True)
        if conf.notifications.enabled:
            transport = transport or messaging.get_notification_transport(
                conf)
            driver = conf.oslo_messaging_notifications.driver
            self._notifier = messaging.Notifier(
                transport, publisher_id=f'kata-compute:{conf.host}',
                driver=None if driver else 'messagingv2',
                topics=[conf.notifications.topic])

    def start(self) -> None:
        if self._notifier is not None:
            self._thread.start()

    def stop(self) -> None:
        """Wait for what is queued, but not for ever."""
        self._queue.put(None)
        if self._thread.ident:
            self._thread.join(_LAST_SECONDS)
            if self._thread.is_alive():
                LOG.error('%d notifications are lost: the message broker '
                          'does not take them', self._queue.qsize())

    def sandbox(self, event: str, occurred_at: float, **fields: Any) -> None:
        """:param event: one of EVENTS; occurred_at: Unix seconds"""
        self._send(event, objects.SandboxPayload(
            host=self.host, occurred_at=_time(occurred_at),
            **{'exit_code': None, 'fault': None, **fields}))

    def container(self, event: str, occurred_at: float,
                  **fields: Any) -> None:
        """:param event: one of EVENTS; occurred_at: Unix seconds"""
        self._send(event, objects.ContainerPayload(
            host=self.host, occurred_at=_time(occurred_at),
            **{'exit_code': None, 'reason': None, 'fault': None, **fields}))

    def _send(self, event: str, payload: Any) -> None:
        assert event in EVENTS, event
        LOG.debug('Notification %s', event)
        payload.obj_reset_changes(recursive=True)  # all of it is news
        if self._notifier is None:
            return
        if self._queue.qsize() >= _MAX_QUEUED:
            LOG.error('Notification %s is lost: %d others wait for the '
                      'message broker', event, _MAX_QUEUED)
        else:
            self._queue.put((event, payload.obj_to_primitive()))

    def _run(self) -> None:
        assert self._notifier is not None
        while (item := self._queue.get()) is not None:
            event, payload = item
            send = (self._notifier.error if event.endswith('.error')
                    else self._notifier.info)
            try:
                send({}, event, payload)
            except Exception:
                LOG.exception('Notification %s is lost', event)


def fault(error: BaseException) -> objects.FaultPayload:
    return objects.FaultPayload(exception=type(error).__name__,
                                message=str(error))


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
