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

"""Send notifications in a separate thread, in the order of the events.

Operations neither wait for notifications nor fail with them. oslo.messaging
retries forever while the message broker is down, hence the thread.
doc/source/admin/notifications.rst tells which notifications can get lost.
"""

from collections.abc import Callable
import contextlib
import datetime
import queue
import threading
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
import oslo_messaging as messaging

from kata_openstack.notifications import objects
from kata_openstack import request_context

LOG = logging.getLogger(__name__)

# All event types.
EVENTS = (
    'sandbox.create.end', 'sandbox.create.error', 'sandbox.start.end',
    'sandbox.exit', 'sandbox.delete.end',
    'container.create.end', 'container.start.end', 'container.start.error',
    'container.exit', 'container.delete.end',
)

_MAX_QUEUED = 10000
_LAST_SECONDS = 5.0  # stop() waits this long for the queued notifications

# The context of the request, the event type, and the payload
_Notification = tuple[dict[str, Any], str, Any]


class Emitter:
    """Sends notifications, if the operator has set a driver.

    Threads may share it.

    Events before start() are queued, and sent by start().
    """

    def __init__(self, conf: cfg.ConfigOpts,
                 transport: messaging.Transport | None = None) -> None:
        """:param transport: default: [oslo_messaging_notifications]"""
        self.host: str = conf.host
        self._notifier: messaging.Notifier | None = None
        self._queue: queue.SimpleQueue[
            _Notification | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name='notify',
                                        daemon=True)
        transport = transport or messaging.get_notification_transport(conf)
        # without a driver, oslo.messaging would only discard them later
        if conf.oslo_messaging_notifications.driver:
            self._notifier = messaging.Notifier(
                transport, publisher_id=f'kata-compute:{conf.host}',
                topics=[conf.notifications.topic])

    def start(self) -> None:
        if self._notifier is not None:
            self._thread.start()

    def stop(self) -> None:
        """Send the queued notifications, for at most 5 seconds."""
        self._queue.put(None)
        if self._thread.ident:
            self._thread.join(_LAST_SECONDS)
            if self._thread.is_alive():
                LOG.error('%d notifications were not sent: the message broker '
                          'does not accept them. kata-compute sends those of '
                          'containers and sandboxes after its next start, '
                          'unless they were created and deleted meanwhile. '
                          'Those of failed requests are lost',
                          self._unsent() + 1)  # and the one in the thread

    def _unsent(self) -> int:
        """Empty the queue, and return the number of notifications in it."""
        found = 0
        with contextlib.suppress(queue.Empty):
            while True:
                found += isinstance(self._queue.get_nowait(), tuple)
        self._queue.put(None)  # the thread ends after what it is sending
        return found

    def after_sent(self, action: Callable[[], None]) -> None:
        """Call ``action`` once all notifications so far have been sent.

        That is at once if there is no driver, and never if stop() gives up
        before.

        :param action: must not raise
        """
        if self._notifier is None:
            action()
        else:
            self._queue.put(action)

    def sandbox(self, event: str, occurred_at: float, **fields: Any) -> None:
        """Queue a notification about a sandbox.

        :param event: one of EVENTS that starts with 'sandbox.'
        :param occurred_at: Unix seconds
        :param fields: the other fields of SandboxPayload; exit_code and
            fault may be left out
        """
        self._send(event, objects.SandboxPayload(
            host=self.host, occurred_at=_time(occurred_at),
            **{'exit_code': None, 'fault': None, **fields}))

    def container(self, event: str, occurred_at: float,
                  **fields: Any) -> None:
        """Queue a notification about a container.

        :param event: one of EVENTS that starts with 'container.'
        :param occurred_at: Unix seconds
        :param fields: the other fields of ContainerPayload; exit_code,
            reason and fault may be left out
        """
        self._send(event, objects.ContainerPayload(
            host=self.host, occurred_at=_time(occurred_at),
            **{'exit_code': None, 'reason': None, 'fault': None, **fields}))

    def _send(self, event: str, payload: Any) -> None:
        assert event in EVENTS, event
        LOG.debug('Notification %s', event)
        # Without this, the message would list every field as changed.
        payload.obj_reset_changes(recursive=True)
        if self._notifier is None:
            return
        if self._queue.qsize() >= _MAX_QUEUED:
            LOG.error('Lost notification %s: the queue is full (%d wait for '
                      'the message broker)', event, _MAX_QUEUED)
        else:
            self._queue.put((request_context.current(), event,
                             payload.obj_to_primitive()))

    def _run(self) -> None:
        assert self._notifier is not None
        while (item := self._queue.get()) is not None:
            if callable(item):
                item()
                continue
            context, event, payload = item
            send = (self._notifier.error if event.endswith('.error')
                    else self._notifier.info)
            try:
                send(context, event, payload)
            except Exception:
                LOG.exception('Lost notification %s', event)


def fault(error: BaseException) -> objects.FaultPayload:
    return objects.FaultPayload(exception=type(error).__name__,
                                message=str(error))


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
