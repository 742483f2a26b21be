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
import dataclasses
import pathlib
import time
from unittest import mock

import fixtures
import grpc
from oslo_config import fixture as config_fixture

from kata_openstack.compute import canaries
from kata_openstack.compute import inventory
from kata_openstack.compute.pods import disks
from kata_openstack.compute import space
from kata_openstack.runtime.canary import container
from kata_openstack.runtime.canary import own_image
from kata_openstack.runtime.canary import records
from kata_openstack.runtime.canary import runner
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import node
from tests.unit import base
from tests.unit.compute.pods import test_disks
from tests.unit import fake_containerd
from tests.unit.runtime.host import hosts


class TestCanaries(base.TestCase):
    """Canaries with a fake containerd that answers, or fails on demand."""

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        self.conf = self.fake.conf
        self.config = self.useFixture(config_fixture.Config(self.conf))
        self.client = cri.CriClient(self.conf)
        self.addCleanup(self.client.close)
        self.host = hosts.recorded(self, **hosts.QEMU).probe()
        self.told = []
        self.useFixture(test_disks.FakeMounts())
        self.disks = disks.Disks(
            native.NativeClient(self.conf, self.client.channel),
            space.Space(self.conf, self.client))

    def canaries(self):
        self.node = node.Node(self.conf, host=self.host)
        made = canaries.Canaries(self.conf, self.client, self.node,
                                 lambda: self.told.append(1))
        self.addCleanup(made.stop)
        return made

    def runs(self):
        return [request.config for method, request in self.fake.state.calls
                if method == 'RunPodSandbox']

    def info(self):
        return inventory.Inventory(
            self.conf, self.client,
            native.NativeClient(self.conf, self.client.channel), self.node,
            self.disks).get()

    def fail(self, text='no VM'):
        self.fake.state.fail['RunPodSandbox'] = (
            grpc.StatusCode.UNKNOWN, text)

    def test_a_handler_that_works(self):
        self.assertFalse(self.canaries().start())
        # info() waits for the canary
        self.assertEqual(['kata', 'kata-embedded'], self.info()['runtimes'])
        [config] = self.runs()
        options = config.linux.security_context.namespace_options
        self.assertEqual(2, options.network)  # NODE: no CNI
        self.assertEqual({}, self.fake.state.sandboxes)
        kept = records.load(records.path(self.conf))['kata-embedded']
        self.assertTrue(kept.passed)
        self.assertEqual('', kept.error)

    def test_its_container_is_of_our_own_image(self):
        self.canaries().start()
        self.info()
        [request] = [request for method, request in self.fake.state.calls
                     if method == 'CreateContainer']
        name = request.config.image.image
        self.assertEqual(own_image.image().name, name)
        self.assertIn(name, self.fake.state.images)
        self.assertFalse(pathlib.Path(
            request.sandbox_config.log_directory).exists())

    def test_a_handler_without_a_vm(self):
        self.fake.state.canary_says = records.boot_id()
        self.canaries().start()
        self.assertEqual([], self.info()['runtimes'])
        record = records.load(records.path(self.conf))['kata-embedded']
        self.assertIn('on the kernel of this host', record.error)
        self.assertEqual({}, self.fake.state.sandboxes)

    def test_a_container_that_says_nothing(self):
        self.fake.state.canary_says = ''
        self.canaries().start()
        self.assertEqual([], self.info()['runtimes'])
        record = records.load(records.path(self.conf))['kata-embedded']
        self.assertIn('did not tell the boot id', record.error)

    def test_a_container_that_fails_says_how(self):
        for code, words in (
                (3, 'ran code of another program'),
                (139, 'was killed by SIGSEGV'), (132, 'killed by SIGILL'),
                (255, 'killed by signal 127'), (1, 'ended with exit code 1')):
            self.fake.state.canary_exit = code
            problem = container.run(
                self.client, 'sandbox', pb.PodSandboxConfig(
                    log_directory=str(self.fake.state.root)), 'image')
            self.assertIn(words, problem)

    def test_a_container_that_does_not_end(self):
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.canary.container._LIMIT', 0.0))
        self.canaries().start()
        self.assertEqual([], self.info()['runtimes'])
        record = records.load(records.path(self.conf))['kata-embedded']
        self.assertIn('did not end within', record.error)

    def test_a_container_that_cannot_start(self):
        self.fake.state.fail['StartContainer'] = (
            grpc.StatusCode.UNKNOWN, 'no virtiofsd')
        self.canaries().start()
        self.assertEqual([], self.info()['runtimes'])
        record = records.load(records.path(self.conf))['kata-embedded']
        self.assertIn('no virtiofsd', record.error)
        self.assertEqual({}, self.fake.state.sandboxes)

    def test_no_container_where_our_image_cannot_run(self):
        pulling = self.canaries()
        pulling._pulling = {'kata-embedded'}
        self.assertIsNone(pulling._image('kata-embedded'))
        self.node._host = dataclasses.replace(
            self.host, cpu=dataclasses.replace(
                self.host.cpu, architecture='s390x'))
        pulling._pulling = set()
        self.assertIsNone(pulling._image('kata-embedded'))
        self.assertEqual({}, self.fake.state.records)

    def test_a_handler_that_does_not(self):
        self.fail('vhost-vsock: device not found')
        self.canaries().start()
        info = self.info()
        self.assertEqual([], info['runtimes'])
        self.assertEqual({}, info['traits'])
        [state] = [h for h in info['handlers']
                   if h['name'] == 'kata-embedded']
        self.assertIn('vhost-vsock: device not found', state['reason'])
        self.assertIn('retry_interval', state['remedy'])

    def test_once_a_boot(self):
        self.canaries().start()
        self.info()
        self.assertTrue(self.canaries().start())
        self.assertEqual(['kata', 'kata-embedded'], self.info()['runtimes'])
        self.assertEqual(1, len(self.runs()))

    def test_a_failure_is_kept_too(self):
        self.fail()
        self.canaries().start()
        self.info()
        self.assertTrue(self.canaries().start())
        self.assertEqual([], self.info()['runtimes'])
        self.assertEqual(1, len(self.runs()))

    def test_another_boot(self):
        self.canaries().start()
        self.info()
        file = records.path(self.conf)
        file.write_text(file.read_text().replace(records.boot_id(), 'x'))
        self.assertFalse(self.canaries().start())
        self.info()
        self.assertEqual(2, len(self.runs()))

    def test_a_file_that_is_broken(self):
        file = records.path(self.conf)
        file.parent.mkdir(parents=True, exist_ok=True)
        for text in ('', '[]', '{"format": 1}', '\0'):
            file.write_text(text)
            self.assertEqual({}, records.load(file))

    def test_another_configuration(self):
        found = self.canaries()
        found.start()
        self.info()
        before = runner.keys(self.client)
        self.fake.state.handlers = ['kata-embedded', 'kata-x']
        self.assertEqual(before['kata-embedded'],
                         runner.keys(self.client)['kata-embedded'])
        self.assertEqual(1, len(self.runs()))
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.canary.runner.keys',
            lambda client: {'kata-embedded': 'changed'}))
        found.wake()
        self.wait_for(lambda: len(self.runs()) == 2)

    def wait_for(self, condition):
        deadline = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_a_handler_that_appears_later(self):
        self.fake.state.handlers = []
        found = self.canaries()
        found._look()
        self.assertEqual([], self.info()['runtimes'])
        self.fake.state.handlers = ['kata-embedded']
        # not offered before its canary has run
        self.assertEqual([], self.info()['runtimes'])
        found.start()
        self.wait_for(lambda: self.info()['runtimes'] == [
            'kata', 'kata-embedded'])
        self.assertEqual(1, len(self.runs()))

    def test_a_containerd_that_is_not_ready_yet(self):
        """An untested handler is not offered, and is tested soon after."""
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.canaries._FIRST_RETRY', 0.05))
        self.fake.state.fail['Version'] = (
            grpc.StatusCode.UNKNOWN, 'server is not initialized yet')
        self.canaries().start()
        time.sleep(0.2)
        self.assertEqual([], self.info()['runtimes'])
        del self.fake.state.fail['Version']
        self.wait_for(lambda: self.info()['runtimes'])
        self.assertEqual(1, len(self.runs()))

    def test_a_failure_that_passes(self):
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.canaries._FIRST_RETRY', 0.05))
        self.fail()
        self.canaries().start()
        self.assertEqual([], self.info()['runtimes'])
        del self.fake.state.fail['RunPodSandbox']
        self.wait_for(lambda: self.info()['runtimes'])

    def test_switched_off(self):
        self.fail()
        self.config.config(group='canary', enabled=False)
        self.assertTrue(self.canaries().start())
        self.assertEqual(['kata', 'kata-embedded'], self.info()['runtimes'])
        self.assertEqual([], self.runs())

    def test_unusable_handlers_are_not_tried(self):
        self.host = hosts.recorded(
            self, measured=hosts.INTERPRETING, **hosts.QEMU).probe()
        self.assertTrue(self.canaries().start())
        self.assertEqual([], self.info()['runtimes'])
        self.assertEqual([], self.runs())

    def test_leftovers_are_removed(self):
        self.client.run_pod_sandbox(
            fake_containerd.pb.PodSandboxConfig(
                labels={runner.LABEL: 'kata-embedded'}), 'kata-embedded')
        self.canaries().start()
        self.info()
        self.assertEqual({}, self.fake.state.sandboxes)

    def test_a_containerd_that_goes_meanwhile(self):
        """The started canary is removed when containerd is back."""
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.canaries._FIRST_RETRY', 0.05))
        gone = (grpc.StatusCode.UNAVAILABLE, 'transport is closing')
        self.fake.state.fail_after['CreateContainer'] = {
            'CreateContainer': gone, 'StopPodSandbox': gone}
        self.canaries().start()
        self.wait_for(lambda: 'StopPodSandbox' in self.fake.state.fail)
        self.wait_for(lambda: self.fake.state.sandboxes)
        self.fake.state.fail.clear()
        self.wait_for(lambda: self.info()['runtimes'])
        self.assertEqual({}, self.fake.state.sandboxes)

    def test_it_must_be_removable(self):
        self.fake.state.fail['StopPodSandbox'] = (
            grpc.StatusCode.UNKNOWN, 'stuck')
        self.canaries().start()
        self.assertEqual([], self.info()['runtimes'])

    def test_a_stop_meanwhile_is_no_failure(self):
        """Else the next process would refuse pods for it."""
        made = self.canaries()

        def run(*args, **more):
            made.stop()
            return records.Record(key='key', passed=False, at=0.0,
                                  seconds=1.0, error='Channel closed!')
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.runtime.canary.runner.run', run))
        made._try('kata-embedded', 'key', 0)
        self.assertEqual({}, records.load(records.path(self.conf)))

    def test_nobody_waits_for_ever(self):
        self.config.config(group='canary', wait=0)
        found = self.canaries()
        found._expect(frozenset(['kata-embedded']))
        [state] = [s for s in self.node.handlers({'kata-embedded'})
                   if s.name == 'kata-embedded']
        self.assertFalse(state.usable)
        self.assertIn('has not run yet', state.reason)

    def test_failures_are_retried_ever_later(self):
        found = self.canaries()
        record = records.Record(key='', passed=False, at=1000.0,
                                seconds=1.0, failures=1)
        waits = [found._due(records.Record(**{
            **record.__dict__, 'failures': n})) - 1000 for n in range(1, 9)]
        self.assertEqual([5, 10, 20, 40, 80, 160, 300, 300], waits)

    def started(self):
        """Canaries whose first round has ended."""
        made = self.canaries()
        made.start()
        self.info()
        return made

    def test_a_candidate_that_works(self):
        made = self.started()
        key = runner.keys(self.client)['kata-embedded']
        taken = []
        with mock.patch.object(runner, 'keys', lambda client: {
                'kata-embedded': 'new key' if taken else key}):
            record = made.try_candidate('kata-embedded',
                                        lambda: taken.append(1))
            self.assertTrue(record.passed)
            self.assertEqual([1], taken)
            # it needs no other canary, and no start waits for one
            made._look()
            self.assertEqual(frozenset(), made.pending)
            self.assertIsNone(made.doubt('kata-embedded'))
        guests = [config.annotations.get('kata-openstack.io/guest')
                  for config in self.runs()]
        self.assertEqual([None, 'candidate'], guests)
        self.assertEqual('new key', records.load(
            records.path(self.conf))['kata-embedded'].key)

    def test_a_candidate_that_fails(self):
        made = self.started()
        self.fail()
        take_over = mock.Mock()
        record = made.try_candidate('kata-embedded', take_over)
        self.assertIn('no VM', record.error)
        take_over.assert_not_called()
        # the guest in use is not in doubt
        self.assertIsNone(made.doubt('kata-embedded'))
        self.assertTrue(records.load(
            records.path(self.conf))['kata-embedded'].passed)
