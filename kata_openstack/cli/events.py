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

"""kata-openstack events watch: shows the lifecycle events of pods."""

import argparse
from collections.abc import Iterator
import contextlib
import json
import time
from typing import Any
import uuid

from cliff import command
import kombu
from oslo_config import cfg

from kata_openstack.cli import shell
from kata_openstack.conf import opts
from kata_openstack import threads

EXCHANGE = 'kata-openstack'


_BEAT = 5.0  # seconds


class NoExchange(Exception):
    """The broker does not have kata-openstack's exchange."""


def notifications(url: str, topic: str, ssl: dict[str, Any] | bool = False,
                  timeout: float | None = None) -> Iterator[dict[str, Any]]:
    """Yield every notification of all nodes from now on.

    Uses kombu, not oslo.messaging's listener: the listener's queue would
    stay on the broker and fill up or, with the usual name, take messages
    from other listeners. Our queue is exclusive: the broker removes it when
    the connection ends, for any reason.

    :param timeout: seconds after which to end; None: never
    :raises NoExchange: if no kata-compute has used the broker yet
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    received: list[dict[str, Any]] = []
    with kombu.Connection(url, ssl=ssl, heartbeat=30,
                          connect_timeout=10) as connection:
        connection.ensure_connection(max_retries=3, timeout=30)
        # passive: kata-compute creates it, with the operator's options
        exchange = kombu.Exchange(EXCHANGE, type='topic', passive=True)
        queues = [
            kombu.Queue(f'kata-openstack-events-{uuid.uuid4()}',
                        exchange=exchange, routing_key=f'{topic}.{priority}',
                        exclusive=True, auto_delete=True, durable=False)
            for priority in ('info', 'error')]
        consumer = kombu.Consumer(
            connection, queues, no_ack=True, accept=['json'],
            auto_declare=False,
            callbacks=[lambda body, _: received.append(unpack(body))])
        try:
            consumer.declare()
        except connection.channel_errors as e:
            raise NoExchange(str(e)) from e
        with consumer:
            beat = time.monotonic()
            while True:
                now = time.monotonic()
                if now - beat >= _BEAT:
                    connection.heartbeat_check()
                    beat = now
                wait = _BEAT
                if deadline is not None:
                    wait = min(wait, deadline - now)
                    if wait <= 0:
                        return
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=wait)
                while received:
                    yield received.pop(0)


def unpack(body: Any) -> dict[str, Any]:
    """Return the notification in oslo.messaging's envelope."""
    message = json.loads(body) if isinstance(body, (str, bytes)) else body
    if 'oslo.message' in message:
        message = json.loads(message['oslo.message'])
    return message


def describe(message: dict[str, Any]) -> str:
    """Return a notification as one line of text."""
    data = message['payload'].get('kata_openstack_object.data', {})
    words = [data.get('occurred_at', message.get('timestamp', '')),
             f'{message["event_type"]:22}',
             data.get('uuid') or data.get('pod_uuid', ''),
             data.get('handler') or '']
    if data.get('exit_code') is not None:
        words.append(f'exit code {data["exit_code"]}')
    if data.get('reason'):
        words.append(data['reason'])
    if data.get('fault'):
        fault = data['fault']['kata_openstack_object.data']
        words.append(fault['message'])
    words.append(message.get('publisher_id', ''))
    return ' '.join(word for word in words if word)


class Watch(command.Command):
    """Show the lifecycle events of pods as they happen."""

    app: shell.KataOpenstack

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--pod', metavar='UUID',
                            help='Show only the events of this pod.')
        parser.add_argument(
            '--json', action='store_true',
            help='Show each whole notification, as JSON in one line, instead '
                 'of a summary.')
        parser.add_argument('--count', type=int, metavar='N',
                            help='Exit after N events.')
        parser.add_argument('--timeout', type=float, metavar='SECONDS',
                            help='Exit after this time.')
        return parser

    def take_action(self, args: argparse.Namespace) -> int:
        conf = self.app.conf
        url, ssl = _broker(conf)
        shown = 0
        try:
            for message in notifications(url, conf.notifications.topic, ssl,
                                         args.timeout):
                data = message.get('payload', {}).get(
                    'kata_openstack_object.data')
                if data is None or (args.pod
                                    and data.get('pod_uuid') != args.pod):
                    continue
                self.app.stdout.write(
                    (json.dumps(message) if args.json else describe(message))
                    + '\n')
                self.app.stdout.flush()
                shown += 1
                if args.count and shown >= args.count:
                    break
        except kombu.exceptions.OperationalError as e:
            self.app.LOG.error('Cannot reach the message broker: %s. Check '
                               'transport_url.', e)
            return 1
        except NoExchange:
            self.app.LOG.error(
                'No kata-compute has used this message broker. Start '
                'kata-compute and check transport_url.')
            return 1
        except KeyboardInterrupt:
            pass
        return 0


def _broker(conf: cfg.ConfigOpts) -> tuple[str, dict[str, Any] | bool]:
    """URL and TLS options for kombu, from oslo.messaging's."""
    threads.use_threads()
    import oslo_messaging as messaging

    opts.register_opts(conf, 'notifications')
    transport = messaging.get_notification_transport(conf)  # registers opts
    parsed = messaging.TransportURL.parse(
        conf, conf.oslo_messaging_notifications.transport_url)
    transport.cleanup()
    return kombu_url(parsed), _ssl(conf)


def kombu_url(parsed: Any) -> str:
    """:param parsed: an oslo_messaging.TransportURL"""
    scheme = parsed.transport.removeprefix('kombu+')
    scheme = 'amqp' if scheme == 'rabbit' else scheme
    vhost = parsed.virtual_host or ''
    if not parsed.hosts:
        return f'{scheme}:///{vhost}'
    return ';'.join(
        kombu.utils.url.as_url(scheme, h.hostname, h.port or 5672,
                               h.username, h.password, vhost,
                               sanitize=False)
        for h in parsed.hosts)


def _ssl(conf: cfg.ConfigOpts) -> dict[str, Any] | bool:
    """Return py-amqp's TLS parameters, True for its defaults, or False."""
    group = getattr(conf, 'oslo_messaging_rabbit', None)
    if group is None or not group.ssl:
        return False
    named = {'keyfile': group.ssl_key_file, 'certfile': group.ssl_cert_file,
             'ca_certs': group.ssl_ca_file}
    # py-amqp takes an empty dictionary for "no TLS"
    return {key: value for key, value in named.items() if value} or True
