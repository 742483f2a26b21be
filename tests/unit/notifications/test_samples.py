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

"""Every notification matches its sample in doc/notification_samples.

After a change (with a new version of the payload), regenerate the samples:
KATA_WRITE_SAMPLES=1 stestr run test_samples
"""

import json
import os
import pathlib
import threading

import fixtures
from oslo_config import cfg
from oslo_context import fixture as context_fixture
from oslo_messaging import conffixture
from oslo_messaging.notify import notifier
from oslo_versionedobjects import fixture
from tests.unit import base

from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.notifications import emitter
from kata_openstack.notifications import objects
from kata_openstack import request_context

SAMPLES = (pathlib.Path(__file__).parents[3] / 'doc'
           / 'notification_samples')

COMMON = {'pod_uuid': 'd8ae3bc5-9a5b-4fb3-9c1a-5d1a24bd9c9c',
          'kind': 'container',
          'project_id': '9f8c6f9a1b8f4d2a8a6f6b0b0f1d2c3e',
          'user_id': '1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f',
          'handler': 'kata-qemu'}
CONTAINER = {**COMMON, 'uuid': COMMON['pod_uuid'],
             'container_id': 'c' * 64,
             'image': 'docker.io/library/nginx:latest'}
SANDBOX = {**COMMON, 'sandbox_id': 'a' * 64}
FAULT = emitter.fault(exception.CommandNotFound(
    command='/bin/nope', image='docker.io/library/nginx:latest'))
EXTRA = {
    'sandbox.create.error': {'sandbox_id': None, 'handler': None,
                             'fault': FAULT},
    'sandbox.exit': {'exit_code': 137},
    'container.start.error': {'handler': None, 'fault': FAULT},
    'container.exit': {'exit_code': 137, 'reason': 'OOMKilled'},
}


class SamplesTest(base.TestCase):

    def setUp(self):
        super().setUp()
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        self.useFixture(conffixture.ConfFixture(conf))
        conf([], default_config_files=[], default_config_dirs=[])
        conf.set_override('host', 'compute1')
        conf.set_override('driver', ['messagingv2'],
                          'oslo_messaging_notifications')
        self.conf = conf
        self.sent, self.contexts = [], []
        self.fake = emitter.Emitter(conf)
        self.notifier = self.fake._notifier
        self.fake._notifier = self
        self.fake.start()
        self.addCleanup(self.fake.stop)

    def info(self, ctxt, event_type, payload):
        self.sent.append(('INFO', event_type, payload))
        self.contexts.append(ctxt)

    def error(self, ctxt, event_type, payload):
        self.sent.append(('ERROR', event_type, payload))

    def test_samples(self):
        for event in emitter.EVENTS:
            fields = {**(SANDBOX if event.startswith('sandbox')
                         else CONTAINER), **EXTRA.get(event, {})}
            send = (self.fake.sandbox if event.startswith('sandbox')
                    else self.fake.container)
            send(event, 1795402802.0, **fields)
        self.fake.stop()
        for event in emitter.EVENTS:
            priority, event_type, payload = self.sent.pop(0)
            self.assertEqual(event, event_type)
            notification = {
                'event_type': event_type, 'priority': priority,
                'publisher_id': self.notifier.publisher_id,
                'payload': payload}
            path = SAMPLES / f'{event.replace(".", "-")}.json'
            if os.environ.get('KATA_WRITE_SAMPLES'):
                path.write_text(json.dumps(notification, indent=2,
                                           sort_keys=True) + '\n')
            self.assertEqual(json.loads(path.read_text()), notification)

    def test_no_sample_too_many(self):
        self.assertEqual(
            sorted(f'{e.replace(".", "-")}.json' for e in emitter.EVENTS),
            sorted(p.name for p in SAMPLES.iterdir()))

    def test_topic_and_publisher(self):
        self.assertEqual('kata-compute:compute1', self.notifier.publisher_id)
        self.assertEqual(['versioned_notifications'],
                         self.notifier._topics)
        self.assertIsInstance(self.notifier, notifier.Notifier)

    def test_without_a_driver_nothing_is_sent(self):
        self.conf.clear_override('driver', 'oslo_messaging_notifications')
        quiet = emitter.Emitter(self.conf)
        quiet.start()
        quiet.sandbox('sandbox.exit', 1.0, **SANDBOX)
        self.assertEqual(0, quiet._queue.qsize())
        quiet.stop()

    def test_the_context_is_that_of_the_request(self):
        """Events of containerd belong to no request."""
        self.useFixture(context_fixture.ClearRequestContext())
        self.fake.sandbox('sandbox.exit', 1.0, **SANDBOX)
        ctxt = {'request_id': 'req-1', 'project_id': 'p', 'user_id': 'u'}
        request_context.enter(ctxt)
        self.fake.sandbox('sandbox.exit', 1.0, **SANDBOX)
        self.fake.stop()
        self.assertEqual([{}, ctxt], self.contexts)

    def test_a_broken_bus_stops_nothing(self):
        def fail(*args):
            self.info = works
            raise RuntimeError
        works, self.info = self.info, fail
        for event in ('sandbox.start.end', 'sandbox.exit'):
            self.fake.sandbox(event, 1.0, **SANDBOX)
        self.fake.stop()
        self.assertEqual(['sandbox.exit'], [s[1] for s in self.sent])

    def test_actions_wait_for_what_is_sent_before(self):
        done = []
        quiet = emitter.Emitter(self.conf)
        quiet._notifier = None  # as without a driver
        quiet.after_sent(lambda: done.append('at once'))
        self.fake.sandbox('sandbox.exit', 1.0, **SANDBOX)
        self.fake.after_sent(lambda: done.append(len(self.sent)))
        self.fake.sandbox('sandbox.exit', 1.0, **SANDBOX)
        self.fake.stop()
        self.assertEqual(['at once', 1], done)

    def test_what_a_stop_gives_up_was_not_sent(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.notifications.emitter._LAST_SECONDS', 0.1))
        back, done, sending = threading.Event(), [], threading.Event()

        def wait(*args):
            sending.set()
            back.wait()
        self.info = wait
        for _ in range(3):
            self.fake.sandbox('sandbox.exit', 1.0, **SANDBOX)
            self.fake.after_sent(lambda: done.append(1))
        sending.wait(10)
        self.fake.stop()
        self.assertIn('3 notifications were not sent', log.output)
        back.set()
        self.fake._thread.join(10)
        self.assertFalse(self.fake._thread.is_alive())
        self.assertEqual([], done)

    def test_nobody_waits_for_a_bus_that_is_away(self):
        sending, back = threading.Event(), threading.Event()
        self.addCleanup(back.set)

        def wait(*args):
            sending.set()
            back.wait()
            works(*args)
        works, self.info = self.info, wait
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.notifications.emitter._MAX_QUEUED', 3))
        told = emitter.EVENTS[2:4] + emitter.EVENTS[5:7] * 2
        for event in told:
            send = (self.fake.sandbox if event.startswith('sandbox')
                    else self.fake.container)
            send(event, 1.0, **(SANDBOX if event.startswith('sandbox')
                                else CONTAINER))
            self.assertTrue(sending.wait(60))  # the first one, at once
        self.assertEqual([], self.sent)
        back.set()
        self.fake.stop()
        # one is being sent, three wait, and the rest is dropped
        self.assertEqual(list(told[:4]), [s[1] for s in self.sent])


class VersionsTest(base.TestCase):

    def test_a_change_needs_a_new_version(self):
        """Raise VERSION (the module has the rule), then FINGERPRINTS."""
        checker = fixture.ObjectVersionChecker({
            cls.__name__: [cls] for cls in (
                objects.FaultPayload, objects.SandboxPayload,
                objects.ContainerPayload)})
        expected, actual = checker.test_hashes(FINGERPRINTS)
        self.assertEqual(expected, actual)


FINGERPRINTS = {
    'ContainerPayload': '1.0-076c3eaaee563551838a0d12115911bb',
    'FaultPayload': '1.0-4907a2b49f16058316f4e81eaa5aa245',
    'SandboxPayload': '1.0-97461db1a9ffe098996105ab13616470',
}
