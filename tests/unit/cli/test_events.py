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

import io
import json

import fixtures
from oslo_config import cfg
import oslo_messaging
from oslo_messaging import conffixture
from tests.unit import base

from kata_openstack.cli import events
from kata_openstack.cli import shell

MESSAGE = {
    'event_type': 'container.exit', 'publisher_id': 'kata-compute:n1',
    'timestamp': '2026-11-23 03:00:00', 'payload': {
        'kata_openstack_object.data': {
            'uuid': 'u', 'pod_uuid': 'p', 'handler': 'kata-qemu',
            'occurred_at': '2026-11-23T03:00:00Z', 'exit_code': 0,
            'reason': 'OOMKilled', 'fault': None}}}


class EventsTest(base.TestCase):

    def test_unpack(self):
        envelope = {'oslo.version': '2.0',
                    'oslo.message': json.dumps(MESSAGE)}
        for body in (MESSAGE, json.dumps(MESSAGE), envelope,
                     json.dumps(envelope)):
            self.assertEqual(MESSAGE, events.unpack(body))

    def test_describe(self):
        self.assertEqual(
            '2026-11-23T03:00:00Z container.exit         u kata-qemu '
            'exit code 0 OOMKilled kata-compute:n1',
            events.describe(MESSAGE))

    def test_describe_a_fault(self):
        data = {'fault': {'kata_openstack_object.data': {
            'message': 'It broke.'}}}
        self.assertIn('It broke.', events.describe({
            **MESSAGE, 'payload': {'kata_openstack_object.data': data}}))

    def watch(self, *argv, messages=(MESSAGE,)):
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.cli.events._broker', lambda conf: ('url', False)))

        def notifications(*args):
            for message in messages:
                if isinstance(message, Exception):
                    raise message
                yield message
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.cli.events.notifications', notifications))
        file = self.create_tempfiles([('node', '')], ext='.conf')[0]
        app = shell.KataOpenstack()
        app.stdout, app.stderr = io.StringIO(), io.StringIO()
        code = app.run(['--config-file', file, 'events', 'watch', *argv])
        return code, app.stdout.getvalue()

    def test_watch(self):
        other = {**MESSAGE, 'payload': {'kata_openstack_object.data': {
            'pod_uuid': 'other'}}}
        messages = [MESSAGE, other, {'payload': {'of': 'Nova'}}]
        code, out = self.watch(messages=messages)
        self.assertEqual(0, code)
        self.assertEqual(''.join(
            f'{events.describe(m)}\n' for m in (MESSAGE, other)), out)
        _, out = self.watch('--json', '--pod', 'p', messages=messages)
        self.assertEqual(MESSAGE, json.loads(out))
        _, out = self.watch('--count', '1', messages=messages)
        self.assertEqual(1, out.count('\n'))

    def test_watch_has_none_of_cliffs_formats(self):
        e = self.assertRaises(SystemExit, self.watch, '-f', 'json')
        self.assertEqual(2, e.code)

    def test_watch_without_a_node(self):
        with self.assertLogs('run', 'ERROR') as logs:
            code, out = self.watch(messages=[events.NoExchange()])
        self.assertEqual((1, ''), (code, out))
        self.assertIn('Start kata-compute', logs.output[0])

    def test_kombu_url(self):
        def url(text):
            return events.kombu_url(oslo_messaging.TransportURL.parse(
                conf, text))
        conf = cfg.ConfigOpts()
        self.useFixture(conffixture.ConfFixture(conf))
        self.assertEqual('amqp://u:p%40ss@h:5/v', url(
            'rabbit://u:p%40ss@h:5/v'))
        self.assertEqual('amqp://u:p@a:5672/;amqp://u:p@b:1/', url(
            'rabbit://u:p@a,u:p@b:1/'))
        self.assertEqual('memory:///', url('kombu+memory://'))

    def test_tls_without_files_is_still_tls(self):
        conf = cfg.ConfigOpts()
        self.useFixture(conffixture.ConfFixture(conf))
        oslo_messaging.get_rpc_transport(conf, 'rabbit://u:p@h/')
        for options, expected in (
                ({'ssl': False}, False), ({'ssl': True}, True),
                ({'ssl': True, 'ssl_ca_file': '/ca'}, {'ca_certs': '/ca'})):
            for name, value in options.items():
                conf.set_override(name, value, 'oslo_messaging_rabbit')
            self.assertEqual(expected, events._ssl(conf))
