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

"""Pods with a fake containerd that fails on demand."""

import contextlib
import dataclasses
import itertools
import pathlib
from unittest import mock
import uuid

import fixtures
import grpc
from tests.unit import base
from tests.unit.compute.network import test_plugging
from tests.unit.compute.pods import test_handover
from tests.unit import fake_containerd

from kata_openstack.compute.health import results
from kata_openstack.compute.images import store
from kata_openstack.compute.network import plugging
from kata_openstack.compute.pods import admission
from kata_openstack.compute.pods import handover
from kata_openstack.compute.pods import labels
from kata_openstack.compute.pods import lifecycle
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime import node
from kata_openstack.runtime import pod_memory

_FAILED = (grpc.StatusCode.UNKNOWN, 'injected')
# Methods that clean up after an error
_CLEANUP = ('StopPodSandbox', 'StopContainer', 'RemoveContainer',
            'RemovePodSandbox')


class FakeNode:
    """Stands in for the node, so that no recorded host is needed."""

    def choose(self, runtime, needs, configured, *, isolation, cpus,
               memory_mib):
        self.size = cpus, memory_mib
        return node.Choice(
            handler='kata-embedded', hypervisor='embedded', accelerator='tcg',
            reason='it is a test', overhead_mib=128, overhead_cpus=0.25,
            cost_mib=(memory_mib or 256) + 128)


class Recorder:

    def __init__(self):
        self.events = []

    def sandbox(self, event, occurred_at, **fields):
        self.events.append((event, fields))

    container = sandbox


class Case(base.TestCase):

    def setUp(self):
        super().setUp()
        fake = self.useFixture(fake_containerd.FakeContainerd())
        self.state, self.conf = fake.state, fake.conf
        self.state.volumes['sha256:1'] = ['/data', '/data/below']
        client = cri.CriClient(fake.conf)
        self.addCleanup(client.close)
        self.recorder = Recorder()
        self.node = FakeNode()
        native_ = native.NativeClient(fake.conf, client.channel)
        self.pods = lifecycle.Pods(
            fake.conf, client, native_, self.node,
            store.Images(fake.conf, client, native_),
            plugging.Network(fake.conf, client), self.recorder,
            results.Results())

    def pod(self, count=1, **fields):
        idents = [str(uuid.uuid4()) for _ in range(count)]
        return objects.Pod(**{
            'uuid': idents[0], 'kind': 'container', 'project_id': 'p',
            'user_id': 'u', 'containers': [
                objects.Container(uuid=i, name=f'c{n}',
                                  image='registry.test/image:1')
                for n, i in enumerate(idents)], **fields})

    def folders(self, container_id):
        return [self.state.upper(container_id),
                *self.state.mounts[container_id].values()]

    def write(self, container_id):
        """Write a file to the layer and to each volume of a container."""
        for folder in self.folders(container_id):
            (folder / 'file').write_text('kept')

    def assert_written(self, container_id, message=''):
        self.assertEqual(['kept'] * 3, [
            (folder / 'file').read_text()
            for folder in self.folders(container_id)], message)

    def called(self, *methods):
        return [name for name, _ in self.state.calls if name in methods]

    def assert_nothing_left(self):
        self.assertEqual({}, self.state.sandboxes)
        self.assertEqual({}, self.state.containers)
        logs = pathlib.Path(self.conf.state_path) / 'logs'
        self.assertEqual([], list(logs.iterdir()) if logs.exists() else [])


class CreateTest(Case):

    def test_failure_at_any_step_leaves_nothing(self):
        for method in ('RunPodSandbox', 'CreateContainer'):
            self.state.fail = {method: _FAILED}
            error = self.assertRaises(exception.RuntimeFailed,
                                      self.pods.create, self.pod(2))
            self.assertIn('injected', str(error))
            self.assert_nothing_left()
            event, fields = self.recorder.events.pop()
            self.assertEqual('sandbox.create.error', event)
            self.assertIn('injected', fields['fault'].message)

    def test_failure_of_the_second_container(self):
        second = self.pod(2)
        second.containers[1].image = 'registry.test/none:1'
        self.assertRaises(exception.ImageNotFound, self.pods.create, second)
        self.assertEqual([], self.called('RunPodSandbox'))

    def test_failing_cleanup_does_not_hide_the_cause(self):
        self.state.fail = {'CreateContainer': _FAILED, 'RemovePodSandbox': (
            grpc.StatusCode.UNKNOWN, 'second')}
        error = self.assertRaises(exception.RuntimeFailed,
                                  self.pods.create, self.pod())
        self.assertIn('injected', str(error))

    def test_memory_beyond_the_host(self):
        pod = self.pod()
        self.conf.set_override('pod_memory_mib', 1512, 'kata')
        pod.containers[0].memory_mib = 873
        error = self.assertRaises(exception.NotEnoughMemory,
                                  self.pods.create, pod)
        self.assertIn('needs 1001 MiB', str(error))
        self.assertIn('at most 1000 MiB', str(error))
        self.assertIn('--memory', str(error))
        self.assertEqual([], self.called('RunPodSandbox', 'PullImage'))
        pod.containers[0].memory_mib = 872
        self.pods.create(pod)

    def test_all_pods_together_have_a_limit(self):
        self.conf.set_override('pod_memory_mib', 1512, 'kata')
        first, second = self.pod(), self.pod()
        first.containers[0].memory_mib = 500  # costs 628
        self.pods.create(first)
        error = self.assertRaises(exception.NodeFull, self.pods.create,
                                  second)
        self.assertIn('needs 384 MiB', str(error))
        self.assertIn('of the 1000 MiB', str(error))
        self.assertIn('have 628 MiB', str(error))
        self.assertEqual(1, len(self.called('RunPodSandbox')))
        # a stopped pod has no VM
        self.pods.start(first)
        self.pods.stop(first.uuid, 0)
        self.pods.create(second)
        # and gets one only if there is room
        self.assertRaises(exception.NodeFull, self.pods.start, first)
        self.assertEqual(2, len(self.called('RunPodSandbox')))
        self.pods.delete(second.uuid, False)
        self.pods.start(first)

    def test_a_pod_that_is_being_made_counts(self):
        self.conf.set_override('pod_memory_mib', 1512, 'kata')
        admitted = admission.Admission(self.conf, self.pods._client)
        with admitted.admit('one', 600):
            self.assertRaises(exception.NodeFull,
                              admitted.admit('two', 401).__enter__)
            with admitted.admit('two', 400):
                pass
        with admitted.admit('two', 1000):
            pass

    def test_what_pods_cost_more_than_they_asked_for_is_held_back(self):
        pod = self.pod()
        pod.containers[0].memory_mib = 500
        free = admission.held_back_mib(self.conf, [])
        self.pods.create(pod)
        self.pods.create(self.pod())
        found = self.pods._client.list_pod_sandboxes()
        self.assertEqual(free + 128 + 384,
                         admission.held_back_mib(self.conf, found))
        self.assertEqual(
            pod_memory.host_mib(),
            free + pod_memory.for_pods_mib(self.conf))

    def test_a_sandbox_of_an_older_release_counts_as_the_default(self):
        self.pods.create(self.pod())
        sandbox, = self.pods._client.list_pod_sandboxes()
        for key in (labels.COST_MIB, labels.ASKED_MIB):
            del sandbox.annotations[key]
        self.assertEqual([admission._UNKNOWN_MIB],
                         list(admission.used_mib([sandbox]).values()))

    def test_the_size_counts_in_the_choice(self):
        pod = self.pod(2)
        pod.containers[0].memory_mib, pod.containers[0].cpus = 100, 0.5
        pod.containers[1].memory_mib, pod.containers[1].cpus = 28, 1
        self.pods.create(pod)
        self.assertEqual((1.5, 128), self.node.size)
        self.pods.create(self.pod())
        self.assertEqual((None, None), self.node.size)

    def test_privileged(self):
        self.assertRaises(exception.Unsupported, self.pods.create,
                          self.pod(privileged=True))
        self.conf.set_override('allow_privileged', True, 'compute')
        self.pods.create(self.pod(privileged=True))

    def test_twice(self):
        pod = self.pod()
        self.pods.create(pod)
        self.assertRaises(exception.Conflict, self.pods.create, pod)
        self.assertEqual(1, len(self.state.sandboxes))

    def test_image_by_digest(self):
        self.pods.create(self.pod())
        request = dict(self.state.calls)['CreateContainer']
        self.assertEqual('sha256:1', request.config.image.image)

    def hosts(self):
        """Return what the newest CRI container has as /etc/hosts."""
        request = [request for name, request in self.state.calls
                   if name == 'CreateContainer'][-1]
        mount, = request.config.mounts
        self.assertEqual('/etc/hosts', mount.container_path)
        return pathlib.Path(mount.host_path)

    def test_hosts_file(self):
        pod = self.pod(hostname='web1')
        self.pods.create(pod)
        self.assertEqual('127.0.1.1\tweb1',
                         self.hosts().read_text().splitlines()[-1])
        self.pods.start(pod)
        self.hosts().write_text('changed in the container')
        self.pods.stop(pod.uuid, 0)
        # as of a pod that an earlier release has created
        self.hosts().unlink()
        self.pods.start(pod)
        self.assertIn('127.0.1.1\tweb1', self.hosts().read_text())
        self.hosts().write_text('changed in the container')
        self.pods.stop(pod.uuid, 0)
        self.pods.start(pod)
        self.assertIn('127.0.1.1\tweb1', self.hosts().read_text())
        self.pods.delete(pod.uuid, False)
        self.assertFalse(self.hosts().exists())

    def test_volumes_that_are_refused(self):
        for paths, words in [
                (['/data', '/'], 'hide what every'),
                (['//'], 'hide what every'),
                (['../..'], 'hide what every'),
                (['/a/..'], 'hide what every'),
                (['proc/'], 'hide what every'),
                (['/dev'], 'hide what every'),
                (['/' + 'a' * 5000], 'longer than'),
                ([f'/{n}' for n in range(1000)], '1000 volumes')]:
            self.state.volumes['sha256:1'] = paths
            error = self.assertRaises(exception.InvalidInput,
                                      self.pods.create, self.pod())
            self.assertIn(words, str(error))
            self.assertIn('registry.test/image:1', str(error))
            self.assertLess(len(str(error)), 500)
            self.assertEqual([], self.called('RunPodSandbox'))

    def test_port_without_address(self):
        error = self.assertRaises(
            exception.NetworkFailed, self.pods.create, self.pod(vifs=[
                objects.Vif(port_id='p', network_id='net-1',
                            mac_address='m', vif_type='bridge')]))
        self.assertIn('Add a subnet to network net-1', str(error))
        self.assert_nothing_left()


class StartTest(Case):

    def test_first_start_that_fails_leaves_nothing(self):
        pod = self.pod()
        self.pods.create(pod)
        self.state.fail['StartContainer'] = (
            grpc.StatusCode.UNKNOWN,
            'exec: "/nope": stat /nope: no such file or directory')
        error = self.assertRaises(exception.CommandNotFound,
                                  self.pods.start, pod)
        self.assertIn('/nope', str(error))
        self.assert_nothing_left()
        self.assertEqual('container.start.error', self.recorder.events[0][0])

    def test_is_idempotent(self):
        pod = self.pod(2)
        self.pods.create(pod)
        self.pods.start(pod)
        self.pods.start(pod)
        self.assertEqual(2, len(self.called('StartContainer')))

    def _stopped(self):
        pod = self.pod()
        self.pods.create(pod)
        self.pods.start(pod)
        old, = self.state.containers
        self.write(old)
        self.pods.stop(pod.uuid, 5)
        return pod, old

    def test_again_keeps_files(self):
        pod, old = self._stopped()
        status = self.pods.start(pod)
        new, = self.state.containers
        self.assertNotEqual(old, new)
        self.assert_written(new)
        self.assertEqual(1, len(self.state.sandboxes))
        self.assertEqual('running', status.containers[0].state)
        self.assertEqual(1, self.state.containers[new].metadata.attempt)

    def test_again_in_a_sandbox_that_is_there(self):
        pod = self.pod(2)
        self.pods.create(pod)
        self.pods.start(pod)
        first, second = self.state.containers
        self.state.containers[first].state = pb.CONTAINER_EXITED
        self.write(first)
        self.pods.start(pod)
        self.assertEqual(1, len(self.called('RunPodSandbox')))
        new, = set(self.state.containers) - {second}
        self.assertNotEqual(first, new)
        self.assert_written(new)

    def test_again_that_fails_is_undone(self):
        for method in ('RunPodSandbox', 'CreateContainer', 'Mounts',
                       'StartContainer'):
            self.state.fail = {}
            pod, old = self._stopped()
            self.state.fail = {method: _FAILED}
            self.assertRaises(exception.RuntimeFailed, self.pods.start, pod)
            self.state.fail = {}
            self.assertEqual([old], list(self.state.containers), method)
            self.assert_written(old, method)
            status = self.pods.show(pod.uuid)
            self.assertFalse(status.ready)
            self.pods.start(pod)
            self.pods.delete(pod.uuid, False)

    def test_again_without_volumes_of_the_image(self):
        self.state.ignore_volumes = True
        pod, _ = self._stopped()
        self.pods.start(pod)
        new, = self.state.containers
        self.assertEqual(
            'kept', (self.state.upper(new) / 'file').read_text())

    def test_again_with_an_option_of_containerd_changed(self):
        for ignored in (True, False):
            self.state.ignore_volumes = not ignored
            pod, old = self._stopped()
            self.state.ignore_volumes = ignored
            error = self.assertRaises(exception.Unsupported,
                                      self.pods.start, pod)
            self.assertIn('ignore_image_defined_volumes', str(error))
            self.assertEqual([old], list(self.state.containers))
            self.state.ignore_volumes = not ignored
            self.pods.start(pod)
            new, = self.state.containers
            self.assertEqual({'kept'}, {
                (folder / 'file').read_text()
                for folder in self.folders(new)})
            self.pods.delete(pod.uuid, False)

    def test_volumes_are_each_containers_own(self):
        pod = self.pod(2)
        self.pods.create(pod)
        self.pods.start(pod)
        for ident, container in self.state.containers.items():
            for folder in self.folders(ident):
                (folder / 'file').write_text(container.metadata.name)
        self.pods.stop(pod.uuid, 0)
        self.pods.start(pod)
        for ident, container in self.state.containers.items():
            self.assertEqual({container.metadata.name}, {
                (folder / 'file').read_text()
                for folder in self.folders(ident)})

    def test_a_new_pod_has_fresh_volumes(self):
        """As after a rebuild, which deletes the pod first."""
        pod, _ = self._stopped()
        self.pods.delete(pod.uuid, False)
        self.assertEqual([], list((self.state.root / 'containers').iterdir()))
        self.pods.create(pod)
        self.pods.start(pod)
        new, = self.state.containers
        self.assertEqual({"the image's"}, {
            (folder / 'file').read_text()
            for folder in self.state.mounts[new].values()})

    def test_unknown(self):
        self.assertRaises(exception.NotFound, self.pods.start, self.pod())

    def assert_kept(self, pod):
        """Assert that the pod runs with its file, and nothing is left over."""
        status = self.pods.show(pod.uuid)
        self.assertEqual(['running'] * len(pod.containers),
                         [c.state for c in status.containers])
        self.assertEqual(1, len(self.state.sandboxes))
        self.assertEqual(len(pod.containers), len(self.state.containers))
        current, = (c.container_id for c in status.containers
                    if c.uuid == pod.uuid)
        self.assert_written(current)

    def _die(self, handed_over):
        """Make the hand-over fail, and every clean-up call after it.

        :param handed_over: fail after the hand-over instead of before it.
        """
        give = handover.Handover.give

        def broken(files):
            if handed_over:
                give(files)
            self.state.fail = dict.fromkeys(_CLEANUP, (
                grpc.StatusCode.UNKNOWN, 'second'))
            raise OSError('injected')
        return fixtures.MonkeyPatch(
            'kata_openstack.compute.pods.handover.Handover.give', broken)

    def _interrupted(self, handed_over):
        pod, _ = self._stopped()
        with self._die(handed_over):
            error = self.assertRaises(OSError, self.pods.start, pod)
        self.assertIn('injected', str(error))
        self.state.fail = {}
        self.assertTrue(self.pods.show(pod.uuid).ready)
        return pod

    def test_again_after_an_interrupted_start(self):
        for handed_over in (False, True):
            pod = self._interrupted(handed_over)
            self.pods.start(pod)
            self.assert_kept(pod)
            self.pods.stop(pod.uuid, 0)
            self.pods.start(pod)
            self.assert_kept(pod)
            self.pods.delete(pod.uuid, False)

    def test_stop_after_an_interrupted_start(self):
        for handed_over in (False, True):
            pod = self._interrupted(handed_over)
            self.pods.stop(pod.uuid, 0)
            self.pods.start(pod)
            self.assert_kept(pod)
            self.pods.delete(pod.uuid, False)

    def test_interrupted_start_that_fails_again_is_stopped(self):
        for handed_over in (False, True):
            pod = self._interrupted(handed_over)
            self.state.fail = {'StartContainer': _FAILED}
            self.assertRaises(exception.RuntimeFailed, self.pods.start, pod)
            self.assertFalse(self.pods.show(pod.uuid).ready)
            self.state.fail = {}
            self.pods.start(pod)
            self.assert_kept(pod)
            self.pods.delete(pod.uuid, False)

    def test_death_at_any_step_of_a_start(self):
        """Neither containerd nor the file system does anything after it."""
        state = self.state

        class Death(test_handover.Death):
            def die(self):
                state.fail = dict.fromkeys(_CLEANUP, _FAILED)
                super().die()

        death = self.useFixture(Death())
        for step in itertools.count():
            pod, _ = self._stopped()
            death.happened, death.left = False, step
            try:
                self.pods.start(pod)
            except OSError:
                self.assertTrue(death.happened)
            death.left = None
            self.state.fail = {}
            self.pods.start(pod)
            self.assert_kept(pod)
            self.pods.delete(pod.uuid, False)
            if not death.happened:
                break
        # a mark and three renames for each of three folders
        self.assertGreater(step, 3 * 4)

    def test_interrupted_many_times(self):
        pod = self._interrupted(False)
        for handed_over in (True, False, False, True):
            self.pods.stop(pod.uuid, 0)
            with self._die(handed_over):
                self.assertRaises(OSError, self.pods.start, pod)
            self.state.fail = {}
        self.pods.start(pod)
        self.assert_kept(pod)

    def test_interrupted_in_a_sandbox_that_is_there(self):
        for handed_over in (False, True):
            pod = self.pod(2)
            self.pods.create(pod)
            self.pods.start(pod)
            first, _ = self.state.containers
            self.state.containers[first].state = pb.CONTAINER_EXITED
            self.write(first)
            with self._die(handed_over):
                self.assertRaises(OSError, self.pods.start, pod)
            self.state.fail = {}
            self.pods.start(pod)
            self.assert_kept(pod)
            self.pods.delete(pod.uuid, False)

    def test_cleanup_that_fails_anywhere_loses_nothing(self):
        for method in _CLEANUP:
            pod, _ = self._stopped()
            self.state.fail = {'StartContainer': _FAILED}
            self.state.fail_after['StartContainer'] = {method: (
                grpc.StatusCode.UNKNOWN, 'second')}
            error = self.assertRaises(exception.RuntimeFailed,
                                      self.pods.start, pod)
            self.assertIn('injected', str(error), method)
            self.state.fail = {}
            self.pods.start(pod)
            self.assert_kept(pod)
            self.pods.delete(pod.uuid, False)

    def test_old_one_that_cannot_be_removed(self):
        """The new container runs; the old one is removed later."""
        pod, _ = self._stopped()
        self.state.fail = {'RemovePodSandbox': _FAILED,
                           'RemoveContainer': _FAILED}
        status = self.pods.start(pod)
        self.assertEqual('running', status.containers[0].state)
        self.state.fail = {}
        self.pods.stop(pod.uuid, 0)
        self.pods.start(pod)
        self.assert_kept(pod)


class StopDeleteTest(Case):

    def test_grace(self):
        pod = self.pod(2)
        self.pods.create(pod)
        self.pods.start(pod)
        self.pods.stop(pod.uuid, 7)
        graces = [r.timeout for n, r in self.state.calls
                  if n == 'StopContainer']
        self.assertEqual([7, 7], graces)
        self.assertFalse(self.pods.show(pod.uuid).ready)

    def test_a_container_that_does_not_stop_ends_with_its_vm(self):
        for containers in (1, 2):
            pod = self.pod(containers)
            self.pods.create(pod)
            self.pods.start(pod)
            self.state.fail['StopContainer'] = _FAILED
            self.assertFalse(self.pods.stop(pod.uuid, 7).ready)

    def test_no_grace_kills_with_the_sandbox(self):
        pod = self.pod()
        self.pods.create(pod)
        self.pods.start(pod)
        self.pods.stop(pod.uuid, 0)
        self.assertEqual([], self.called('StopContainer'))

    def test_delete_of_the_unknown(self):
        pod = self.pod()
        self.pods.create(pod)
        self.state.calls.clear()
        for force in (False, True):
            self.pods.delete(str(uuid.uuid4()), force)
        self.assertEqual([], [name for name, _ in self.state.calls
                              if not name.startswith('List')])
        self.assertEqual([pod.uuid], [p.uuid for p in self.pods.list()])

    def test_delete_by_force(self):
        pod = self.pod()
        self.pods.create(pod)
        self.state.fail['StopPodSandbox'] = _FAILED
        self.assertRaises(exception.RuntimeFailed, self.pods.delete,
                          pod.uuid, False)
        self.assertEqual(1, len(self.state.sandboxes))
        self.pods.delete(pod.uuid, True)
        self.assert_nothing_left()

    def test_delete_touches_no_other(self):
        one, two = self.pod(), self.pod()
        self.pods.create(one)
        self.pods.create(two)
        self.pods.delete(one.uuid, False)
        self.assertEqual([two.uuid], [p.uuid for p in self.pods.list()])

    def test_delete_leaves_a_port_that_another_pod_has(self):
        plugin = test_plugging.Plugin()
        self.pods._network._plugins = {'test': plugin}
        vifs = [test_plugging.make_vif('lo-port')]
        one, two = self.pod(vifs=vifs), self.pod(vifs=vifs)
        for pod in (one, two):
            self.pods.create(pod)
        self.pods.delete(one.uuid, False)
        self.assertEqual([], plugin.calls)
        self.pods.delete(two.uuid, False)
        self.assertEqual([('unplug', 'lo-port')], plugin.calls)

    def test_broken_annotations_cost_no_pod(self):
        pods = [self.pod(), self.pod()]
        for pod in pods:
            self.pods.create(pod)
            self.pods.start(pod)

        def damage():
            for sandbox in self.state.sandboxes.values():
                if sandbox.labels[labels.POD] == pods[0].uuid:
                    for name in list(sandbox.annotations):
                        sandbox.annotations[name] = '{'
        damage()
        self.assertEqual(2, len(self.pods.list()))
        self.pods.stop(pods[0].uuid, 0)
        self.pods.start(pods[0])
        damage()  # the start made a new sandbox
        self.pods.stop(pods[1].uuid, 0)
        for pod in pods:
            self.pods.delete(pod.uuid, False)
        self.assert_nothing_left()

    def test_a_container_without_a_state_costs_no_pod(self):
        pods = [self.pod(), self.pod()]
        for pod in pods:
            self.pods.create(pod)
        self.pods.start(pods[0])
        self.state.fail = {'ContainerStatus': _FAILED}
        self.assertEqual(
            {pods[0].uuid: 'unknown', pods[1].uuid: 'created'},
            {p.uuid: p.containers[0].state for p in self.pods.list()})
        self.state.fail = {'ContainerStatus': (
            grpc.StatusCode.UNAVAILABLE, 'injected')}
        self.assertRaises(exception.ContainerdUnavailable, self.pods.list)

    def test_free_if_ended(self):
        pod = self.pod(2)
        self.pods.create(pod)
        self.pods.start(pod)
        first, second = self.state.containers.values()
        first.state = pb.CONTAINER_EXITED
        self.assertTrue(self.pods.free_if_ended(pod.uuid, first.id))
        self.assertTrue(self.pods.show(pod.uuid).ready)
        # its event has come, and CRI does not have it yet
        self.assertFalse(self.pods.free_if_ended(pod.uuid, second.id))
        self.assertTrue(self.pods.show(pod.uuid).ready)
        second.state = pb.CONTAINER_EXITED
        self.assertTrue(self.pods.free_if_ended(pod.uuid, second.id))
        self.assertFalse(self.pods.show(pod.uuid).ready)
        self.assertTrue(self.pods.free_if_ended(str(uuid.uuid4())))

    def test_sandboxes_of_others_are_not_seen(self):
        self.state.sandboxes['x'] = pb.PodSandbox(id='x')
        self.assertEqual([], self.pods.list())
        self.assertRaises(exception.NotFound, self.pods.show,
                          str(uuid.uuid4()))


class SweepTest(Case):

    def setUp(self):
        super().setUp()
        self.logs = pathlib.Path(self.conf.state_path) / 'logs'
        self.kept = self.pod()
        self.pods.create(self.kept)

    def left(self):
        return sorted(path.name for path in self.logs.iterdir())

    def test_logs_of_a_deletion_that_was_interrupted(self):
        pod = self.pod()
        self.pods.create(pod)
        with fixtures.MonkeyPatch(
                'kata_openstack.compute.logs.folders.remove', self.die):
            self.assertRaises(ZeroDivisionError, self.pods.delete,
                              pod.uuid, False)
        self.assertEqual(sorted([pod.uuid, self.kept.uuid]), self.left())
        self.pods.sweep()
        self.assertEqual([self.kept.uuid], self.left())

    def die(self, *args):
        raise ZeroDivisionError

    def test_a_pod_that_is_being_created_keeps_its_logs(self):
        new = self.pod()
        (self.logs / new.uuid).mkdir()
        with self.pods.lock(new.uuid):
            self.pods.sweep()
        self.assertIn(new.uuid, self.left())
        self.pods.sweep()
        self.assertNotIn(new.uuid, self.left())

    def test_a_pod_that_was_just_created_keeps_its_logs(self):
        new = self.pod()
        (self.logs / new.uuid).mkdir()

        @contextlib.contextmanager
        def late(*args, **kwargs):
            self.state.sandboxes['new'] = pb.PodSandbox(
                id='new', labels={labels.POD: new.uuid})
            yield
        with mock.patch.object(self.pods, 'lock', late):
            self.pods.sweep()
        self.assertIn(new.uuid, self.left())

    def test_a_pod_of_which_cri_knows_nothing_keeps_its_logs(self):
        with mock.patch.object(self.pods._client, 'list_pod_sandboxes',
                               return_value=[]):
            self.pods.sweep()
        self.assertEqual([self.kept.uuid], self.left())

    def test_an_empty_containerd(self):
        """As when its disk is not mounted."""
        self.state.sandboxes.clear()
        self.state.containers.clear()
        self.pods.sweep()
        self.assertEqual([self.kept.uuid], self.left())

    def test_only_folders_of_pods(self):
        (self.logs / 'other').mkdir()
        self.pods.sweep()
        self.assertIn('other', self.left())


class StatusTest(Case):

    def test_choice_is_told(self):
        pod = self.pod(hostname='web')
        status = self.pods.create(pod)
        self.assertEqual(
            ('kata-embedded', 'it is a test', 'tcg', 'web'),
            (status.handler, status.handler_reason, status.accelerator,
             status.hostname))
        self.assertEqual(
            dataclasses.asdict(status), dataclasses.asdict(
                objects.PodStatus.from_dict(status.to_dict())))
