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

import copy
import inspect
import itertools
import json
import time
from unittest import mock

from neutronclient.common import exceptions as neutron_exc
from zun.common import exception as zun_exc
from zun.compute import manager
import zun.conf
from zun.container import driver as zun_driver
from zun import objects as zun_objects

from kata_openstack.compute import rpcapi
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.zun_driver import container as module
from kata_openstack.zun_driver.network import ports
from tests.unit import test_old_releases
from tests.unit.zun_driver import base
from tests.unit.zun_driver import fakes


class ContainerTestCase(base.DriverTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.driver = module.KataContainerDriver()

    def create(self, **values):
        """Create a container with the calls of zun-compute's manager."""
        record = self.container(**values)
        image, loaded = self.driver.pull_image(
            self.context, 'registry.example/app', '1', 'always', 'docker',
            registry=None)
        self.assertTrue(loaded)
        image['repo'], image['tag'] = 'registry.example/app', '1'
        record.task_state = 'container_creating'
        self.driver.create(self.context, record, image, self.networks, {})
        record.task_state = None
        return record

    @property
    def networks(self):
        return getattr(self, '_networks', None) or self.requested()

    def run_container(self, **values):
        record = self.create(**values)
        self.driver.start(self.context, record)
        return record


class TestCreate(ContainerTestCase):

    def test_record(self) -> None:
        record = self.create()
        for c in (record, self.reload(record)):
            self.assertEqual('Created', c.status)
            self.assertEqual('5a' + c.uuid, c.container_id)
            self.assertEqual('kata-embedded', c.runtime)
            self.assertEqual('c-1', c.hostname)
            self.assertEqual(['/entry'], c.entrypoint)
            self.assertEqual(['serve'], c.command)
            self.assertEqual([80], c.ports)
            (addr,) = c.addresses[self.neutron.NETWORK]
            self.assertEqual('10.0.0.10', addr['addr'])
            self.assertEqual(4, addr['version'])
            self.assertFalse(addr['preserve_on_delete'])

    def test_disk(self) -> None:
        for disk, expected in ((None, None), (0, None), (20, 20)):
            record = self.create(disk=disk)
            self.assertEqual(expected, self.api.requests[
                record.uuid].containers[0].disk_gib)

    def test_request(self) -> None:
        self.neutron.dns_domain = 'example.org.'
        record = self.create(workdir='/srv', interactive=True, tty=True)
        pod = self.api.requests[record.uuid]
        self.assertEqual('container', pod.kind)
        self.assertEqual('kata', pod.runtime)
        self.assertEqual(['10.0.0.2'], pod.nameservers)
        self.assertEqual(['example.org'], pod.search_domains)
        (spec,) = pod.containers
        self.assertEqual(record.uuid, spec.uuid)
        self.assertEqual('registry.example/app:1', spec.image)
        self.assertIsNone(spec.entrypoint)
        self.assertIsNone(spec.command)
        self.assertEqual({'A': 'b'}, spec.environment)
        self.assertEqual((1.0, 512), (spec.cpus, spec.memory_mib))
        self.assertEqual(('/srv', True, True),
                         (spec.workdir, spec.tty, spec.stdin))
        (vif,) = pod.vifs
        self.assertEqual(('ovs', 1442, 'netdev'),
                         (vif.vif_type, vif.mtu,
                          vif.details['datapath_type']))
        (ip,) = vif.fixed_ips
        self.assertEqual(('10.0.0.10', 24, '10.0.0.1'),
                         (ip.address, ip.prefixlen, ip.gateway))

    def test_port(self) -> None:
        record = self.create()
        (port,) = self.neutron.ports.values()
        self.assertEqual('compute:zun', port['device_owner'])
        self.assertEqual(record.uuid, port['device_id'])
        self.assertEqual(base.HOST, port['binding:host_id'])
        self.assertEqual('p1', port['tenant_id'])

    def test_own_entrypoint_drops_the_command_of_the_image(self) -> None:
        record = self.create(entrypoint=['/mine'])
        self.assertEqual(['/mine'], record.entrypoint)
        self.assertFalse(record.command)

    def test_runtime_is_passed_on(self) -> None:
        record = self.create(runtime='kata-clh')
        self.assertEqual('kata-clh', self.api.requests[record.uuid].runtime)

    def test_the_image_says_what_it_needs(self) -> None:
        self.api.labels['registry.example/app:1'] = {
            'kata-openstack.io/needs': 'nydus',
            'kata-openstack.io/isolation': 'hardware'}
        record = self.create()
        pod = self.api.requests[record.uuid]
        self.assertEqual((['nydus'], 'hardware'), (pod.needs, pod.isolation))
        # the new VM of a later start must have the same isolation
        self.api.labels.clear()
        self.driver.start(self.context, self.reload(record))
        started = next(c for c in self.api.calls if c[0] == 'start_pod')[2]
        self.assertEqual('hardware', started.isolation)

    def test_a_label_that_makes_no_sense_leaves_nothing(self) -> None:
        self.api.labels['registry.example/app:1'] = {
            'kata-openstack.io/isolation': 'much'}
        raised = self.assertRaises(zun_exc.Invalid, self.create)
        self.assertIn('image metadata kata-openstack.io/isolation',
                      str(raised))
        self.assertEqual(({}, {}), (self.neutron.ports, self.api.pods))

    def test_runc_as_zuns_default_is_never_used(self) -> None:
        self.config(container_runtime='runc')
        record = self.create()
        self.assertEqual('kata', self.api.requests[record.uuid].runtime)

    def test_sandbox_image_as_a_tenants_image(self) -> None:
        """Zun also pulls it for capsules, so pull_image() does nothing."""
        record = self.container(image='kubernetes/pause')
        image, _ = self.driver.pull_image(
            self.context, 'kubernetes/pause', 'latest', 'always', 'docker')
        self.assertEqual([], self.api.calls)
        image['repo'], image['tag'] = 'kubernetes/pause', 'latest'
        self.driver.create(self.context, record, image, self.networks, {})
        self.assertEqual(
            ('pull_image', base.HOST, 'kubernetes/pause:latest',
             'ifnotpresent', None), self.api.calls[0])

    def test_failure_leaves_nothing(self) -> None:
        for error in (exception.UnknownRuntime(runtime='x', why='',
                                                use='kata'),
                      exception.NotEnoughMemory(asked_mib=9, limit_mib=8),
                      exception.NodeUnavailable(host='h', why='no answer')):
            self.api.fail['create_pod'] = error
            raised = self.assertRaises(zun_exc.ZunException, self.create)
            self.assertEqual(str(error), str(raised))
            self.assertEqual({}, self.neutron.ports)
            self.assertEqual(set(), self.allocated)
            self.assertEqual('delete_pod', self.api.calls[-1][0])

    def test_failure_keeps_the_users_port(self) -> None:
        port = self.user_port()
        self._networks = self.requested(port=port, preserve_on_delete=True)
        self.api.fail['create_pod'] = exception.NoHandler(why='none')
        self.assertRaises(zun_exc.Conflict, self.create)
        (left,) = self.neutron.ports.values()
        self.assertEqual(('', '', ''), (
            left['device_owner'], left['device_id'],
            left['binding:host_id']))

    def test_failure_to_clean_up_hides_not_the_cause(self) -> None:
        self.api.fail['create_pod'] = exception.NoHandler(why='none')
        self.api.fail['delete_pod'] = exception.NodeUnavailable(
            host='h', why='no answer')
        raised = self.assertRaises(zun_exc.Conflict, self.create)
        self.assertIn('No hypervisor', str(raised))
        self.assertEqual({}, self.neutron.ports)

    def test_ignored_options_are_refused(self) -> None:
        self.assertRaises(zun_exc.Invalid, self.create,
                          cpu_policy='dedicated')
        self.assertEqual({}, self.neutron.ports)
        self.assertEqual(set(), self.allocated)

    def test_health_check(self) -> None:
        record = self.create(healthcheck={
            'test': 'true', 'interval': '5', 'retries': 2, 'timeout': 0})
        self.assertEqual(
            objects.HealthCheck(test='true', interval=5, retries=2),
            self.api.requests[record.uuid].containers[0].health)
        self.api.set_state(record.uuid, 'running', started_at=1000.0,
                           health='unhealthy, 3 failed')
        self.driver.show(self.context, record)
        self.assertIn('(unhealthy, 3 failed)', record.status_detail)
        record = self.create(healthcheck={})
        self.assertIsNone(
            self.api.requests[record.uuid].containers[0].health)
        for values in ({'interval': 'soon'}, {'interval': -5},
                       {'retries': 10 ** 9}, {'test': 'x' * 5000}):
            self.assertRaises(zun_exc.Invalid, self.create,
                              healthcheck={'test': 'true'} | values)

    def test_dedicated_cpus_are_refused_by_name(self) -> None:
        raised = self.assertRaises(zun_exc.Invalid, self.create,
                                   cpu_policy='dedicated')
        self.assertIn('dedicated CPUs', str(raised))
        self.assertIn('the CPU policy shared', str(raised))
        self.create(cpu_policy='shared')


class TestImageName(ContainerTestCase):
    """The name of the image on its way through Zun's own manager."""

    DIGEST = f'sha256:{"1" * 64}'

    def setUp(self) -> None:
        super().setUp()
        self.manager = manager.Manager.__new__(manager.Manager)
        self.manager.driver = self.driver

    def create_by_manager(self, image, **values):
        record = self.container(image=image, **values)
        return record, self.manager._do_container_create_base(
            self.context, record, self.requested(), {})

    def asked(self):
        """The names by which the node was asked to pull and to create."""
        return ([call[2] for call in self.api.calls
                 if call[0] == 'pull_image'],
                [pod.containers[0].image
                 for pod in self.api.requests.values()])

    def test_digest(self) -> None:
        for image in (f'r.example/pin@{self.DIGEST}',
                      f'r.example/pin:1@{self.DIGEST}'):
            self.api.calls.clear()
            self.api.requests.clear()
            record, _ = self.create_by_manager(image)
            name = f'r.example/pin@{self.DIGEST}'
            self.assertEqual(([name], [name]), self.asked())
            self.driver.start(self.context, self.reload(record))

    def test_tag(self) -> None:
        for image, name in (('r.example/a', 'r.example/a:latest'),
                            ('r.example/a:2', 'r.example/a:2')):
            self.api.calls.clear()
            self.api.requests.clear()
            self.create_by_manager(image)
            self.assertEqual(([name], [name]), self.asked())

    def test_the_registry_is_added(self) -> None:
        self.config('docker', default_registry='r.example:5000')
        self.create_by_manager(f'pin@{self.DIGEST}')
        name = f'r.example:5000/pin@{self.DIGEST}'
        self.assertEqual(([name], [name]), self.asked())

    def test_rebuild(self) -> None:
        record = self.run_container()
        record.image = f'r.example/pin@{self.DIGEST}'
        (port,) = self.neutron.ports
        self.manager._get_network_info = lambda *_: self.requested(port=port)
        with mock.patch('zun.common.utils.FinishAction'), mock.patch(
                'zun.common.utils.EventReporter'):
            self.manager._do_container_rebuild(self.context, record, False)
        self.assertEqual(f'r.example/pin@{self.DIGEST}', self.api.requests[
            record.uuid].containers[0].image)

    def test_invalid_names_are_refused_with_a_reason(self) -> None:
        """Zun's parser would leave the first ones in Creating.

        The last one would keep it busy for months.
        """
        for image, words in (
                ('r.example/pin@sha256:12', 'its digest is not'),
                (f'r.example/pin@sha512:{"1" * 128}', 'its digest is not'),
                ('Upper/case', 'not a valid image reference'),
                (self.DIGEST, 'the ID of an image'),
                ('a' * 100 + '!', 'not a valid image reference')):
            record = self.container(image=image)
            self.assertRaises(
                zun_exc.Invalid, self.manager._do_container_create_base,
                self.context, record, self.requested(), {})
            saved = self.reload(record)
            self.assertEqual('Error', saved.status)
            self.assertIn(words, saved.status_reason)
        self.assertEqual([], self.api.calls)
        self.assertEqual({}, self.neutron.ports)


class TestLife(ContainerTestCase):

    def test_run(self) -> None:
        record = self.run_container()
        self.assertEqual('Running', record.status)
        self.assertIsNone(record.status_reason)
        self.assertTrue(record.status_detail.startswith('Up '))

    def test_a_later_start_needs_nothing_from_neutron(self) -> None:
        record = self.reload(self.create())
        now = time.monotonic()
        self._replace(time, 'monotonic', lambda: now + 120)
        self.neutron.fail = dict.fromkeys(
            ('list_ports', 'show_network', 'list_subnets', 'create_port'),
            AssertionError('not now'))
        self.driver.start(self.context, record)
        method, _, pod = self.api.calls[-1]
        self.assertEqual('start_pod', method)
        self.assertEqual(self.api.requests[record.uuid].vifs, pod.vifs)
        self.assertEqual('registry.example/app:1', pod.containers[0].image)

    def never_active(self) -> None:
        self.config('kata_driver', port_timeout=2)
        self._replace(time, 'sleep', lambda seconds: None)
        self._replace(time, 'monotonic', itertools.count().__next__)
        self.neutron.activate = lambda: False

    def test_ports_are_active_before_the_first_start(self) -> None:
        def start(*args):
            started.append([p['status'] for p in self.neutron.ports.values()])
            return type(self.api).start_pod(self.api, *args)
        started: list[list[str]] = []
        self.api.start_pod = start
        self.run_container()
        self.assertEqual([['ACTIVE']], started)

    def test_ports_that_do_not_become_active(self) -> None:
        record = self.create()
        self.never_active()
        raised = self.assertRaises(zun_exc.Conflict, self.driver.start,
                                   self.context, record)
        self.assertIn('is not ACTIVE in Neutron, after 2 s', str(raised))
        self.assertEqual(({}, {}), (self.neutron.ports, self.api.pods))

    def test_failed_first_start_leaves_nothing(self) -> None:
        record = self.create()
        error = exception.CommandNotFound(command='nope', image='app:1')
        self.api.fail['start_pod'] = error
        raised = self.assertRaises(zun_exc.Invalid, self.driver.start,
                                   self.context, record)
        self.assertEqual(str(error), str(raised))
        self.assertEqual({}, self.neutron.ports)
        self.assertEqual({}, self.api.pods)
        self.assertIsNone(record.container_id)
        record.status = 'Error'
        self.driver.delete(self.context, record, False)
        raised = self.assertRaises(zun_exc.Invalid, self.driver.start,
                                   self.context, record)
        self.assertIn('Delete the container and create it again',
                      str(raised))

    def test_data_of_another_release_is_read(self) -> None:
        old = json.loads((test_old_releases.STORED / 'cni_metadata.json')
                         .read_text())
        newer = copy.deepcopy(old)
        for place in (newer, newer['kata'], newer['kata']['vifs'][0],
                      newer['kata']['vifs'][0]['fixed_ips'][0]):
            place['later'] = {'a': [1]}
        older = copy.deepcopy(old)
        del older['kata']['image_labels'], older['kata']['nameservers']
        del older['kata']['vifs'][0]['mtu']
        for stored, nameservers, mtu in ((old, ['10.0.0.2'], 1450),
                                         (newer, ['10.0.0.2'], 1450),
                                         (older, [], 1500)):
            record = self.create()
            record.cni_metadata = stored
            self.driver.start(self.context, record)
            pod = self.api.calls[-1][-1]
            self.assertEqual('registry.example/app:1',
                             pod.containers[0].image)
            self.assertEqual((nameservers, mtu),
                             (pod.nameservers, pod.vifs[0].mtu))

    def test_data_that_cannot_be_read(self) -> None:
        for stored in ({'kata': [1]}, {'kata': {'image': 'i'}},
                       {'kata': {'image': 'i', 'vifs': [{}]}},
                       {'kata': {'image': None, 'vifs': []}}):
            record = self.create()
            record.cni_metadata = stored
            record.status = 'Stopped'
            record.save(self.context)
            raised = self.assertRaises(zun_exc.Invalid, self.driver.start,
                                       self.context, record)
            self.assertIn('Rebuild the container', str(raised))
            self.api.set_state(record.uuid, 'running', started_at=1000.0)
            self.assertEqual('Running', self.driver.show(
                self.context, record).status)
            self.driver.stop(self.context, record)
            self.driver.delete(self.context, record, False)
        self.assertEqual({}, self.api.pods)
        self.assertEqual({}, self.neutron.ports)

    def test_first_start_without_an_answer_keeps_the_container(self) -> None:
        for error in (exception.NodeUnavailable(host='h', why='no answer'),
                      exception.ContainerdUnavailable(address='a', why='x')):
            record = self.create()
            before = (record.container_id, record.addresses,
                      record.cni_metadata)
            self.api.fail['start_pod'] = error
            self.assertRaises(zun_exc.Conflict, self.driver.start,
                              self.context, record)
            self.assertEqual(before, (record.container_id, record.addresses,
                                      record.cni_metadata))
            self.assertIn(record.uuid, self.api.pods)
            self.assertNotIn('delete_pod', [c[0] for c in self.api.calls])
            record.status = 'Error'  # as set by the manager
            record.save(self.context)
            del self.api.fail['start_pod']
            record = self.driver.start(self.context, self.reload(record))
            self.assertEqual('Running', record.status)
        self.assertEqual(2, len(self.neutron.ports))

    def test_first_start_is_undone_only_if_the_pod_is_gone(self) -> None:
        record = self.create()
        self.api.fail['start_pod'] = exception.RuntimeFailed(
            operation='start', why='no')
        self.assertRaises(zun_exc.ZunException, self.driver.start,
                          self.context, record)
        self.api.pods.clear()
        self.api.fail['show_pod'] = exception.ContainerdUnavailable(
            address='a', why='x')
        self.assertRaises(zun_exc.ZunException, self.driver.start,
                          self.context, record)
        self.assertEqual(1, len(self.neutron.ports))
        self.assertIsNotNone(record.container_id)
        del self.api.fail['show_pod']
        self.assertRaises(zun_exc.ZunException, self.driver.start,
                          self.context, record)
        self.assertEqual({}, self.neutron.ports)
        self.assertIsNone(record.container_id)

    def test_second_start_is_not_the_first(self) -> None:
        record = self.create()
        stale = self.reload(record)  # waits during the first start
        self.driver.start(self.context, record)
        record.save(self.context)
        self.api.pods.clear()
        self.assertRaises(zun_exc.Conflict, self.driver.start, self.context,
                          stale)
        self.assertEqual('Created', stale.status)
        self.assertEqual(1, len(self.neutron.ports))

    def test_failed_later_start_keeps_the_container(self) -> None:
        record = self.run_container()
        self.driver.stop(self.context, record, None)
        self.api.fail['start_pod'] = exception.RuntimeFailed(
            operation='start', why='no')
        self.assertRaises(zun_exc.ZunException, self.driver.start,
                          self.context, record)
        self.assertEqual(1, len(self.neutron.ports))
        self.assertIn(record.uuid, self.api.pods)

    def test_container_that_ends_at_once(self) -> None:
        record = self.create()
        self.api.set_state = lambda uuid, state, **kwargs: (
            type(self.api).set_state(self.api, uuid, 'exited', exit_code=0,
                                     reason='Completed'))
        self.driver.start(self.context, record)
        self.assertEqual('Stopped', record.status)

    def test_stop_start_reboot(self) -> None:
        record = self.run_container()
        for timeout, seconds in ((None, 10), ('3', 3), (0, 0)):
            self.driver.stop(self.context, record, timeout)
            self.assertEqual('Stopped', record.status)
            self.assertIn(('stop_pod', base.HOST, record.uuid, seconds),
                          self.api.calls)
            self.driver.start(self.context, record)
            self.assertEqual('Running', record.status)
        self.driver.reboot(self.context, record, '7')
        self.assertIn(('restart_pod', base.HOST, record.uuid, 7),
                      self.api.calls)
        self.assertEqual('Running', record.status)

    def test_the_grace_is_limited(self) -> None:
        record = self.run_container()
        self.config(group='kata_driver', max_stop_timeout=60)
        for timeout, seconds in (('60', 60), (61, 60), (2 ** 63, 60),
                                 ('9' * 20, 60), ('9' * 5000, 60)):
            self.driver.reboot(self.context, record, timeout)
            self.assertEqual(('restart_pod', base.HOST, record.uuid, seconds),
                             self.api.calls[-1])
        self.config(group='kata_driver', stop_timeout=100)
        self.driver.stop(self.context, record, None)
        self.assertEqual(('stop_pod', base.HOST, record.uuid, 60),
                         self.api.calls[-1])

    def test_kill(self) -> None:
        record = self.run_container()
        self.driver.kill(self.context, record, 'SIGHUP')
        self.assertEqual('Running', record.status)
        self.driver.kill(self.context, record, 'None')
        self.assertIn(('kill_container', base.HOST, record.uuid, 'SIGKILL'),
                      self.api.calls)
        self.assertEqual('Stopped', record.status)
        self.assertIn('Exited(137)', record.status_detail)

    def test_pause(self) -> None:
        record = self.run_container()
        record.status_reason = 'an older failure'
        self.driver.pause(self.context, record)
        self.assertEqual(('Paused', None), (record.status,
                                            record.status_reason))
        self.assertIn('(Paused)', record.status_detail)
        self.driver.show(self.context, record)
        self.assertEqual('Paused', record.status)
        self.driver.unpause(self.context, record)
        self.assertEqual('Running', record.status)
        self.assertNotIn('Paused', record.status_detail)

    def test_kill_does_not_wait_again(self) -> None:
        """The node answers a SIGKILL only after it has waited."""
        record = self.run_container()
        self.api.kill_container = lambda *_: None
        before = len(self.api.calls)
        self.driver.kill(self.context, record, 'SIGKILL')
        self.assertEqual(['show_pod'],
                         [call[0] for call in self.api.calls[before:]])
        self.assertEqual('Running', record.status)

    def test_background_errors_are_told_to_the_container(self) -> None:
        for name in ('stop', 'reboot'):
            record = self.run_container()
            self.api.fail = dict.fromkeys(
                ('stop_pod', 'restart_pod'),
                exception.RuntimeFailed(operation='x', why='y'))
            self.assertRaises(zun_exc.ZunException,
                              getattr(self.driver, name), self.context,
                              record, None)
            self.assertEqual('Error', record.status)
            self.assertIn('x', record.status_reason)
            self.api.fail.clear()

    def test_no_answer_leaves_the_status_alone(self) -> None:
        for name in ('stop', 'reboot'):
            for error in (exception.NodeUnavailable(host='h', why='x'),
                          exception.ContainerdUnavailable(address='h',
                                                          why='x')):
                record = self.run_container()
                self.api.fail = dict.fromkeys(('stop_pod', 'restart_pod'),
                                              error)
                self.assertRaises(zun_exc.Conflict,
                                  getattr(self.driver, name), self.context,
                                  record, None)
                self.assertEqual('Running', record.status)
                self.assertIn('h does not answer', record.status_reason)
                self.api.fail.clear()

    def test_failed_signals_and_groups_leave_the_status_alone(self) -> None:
        record = self.run_container()
        self.api.fail['kill_container'] = exception.RuntimeFailed(
            operation='kill', why='no')
        self.neutron.fail['list_ports'] = neutron_exc.InternalServerError()
        for name, argument in (('kill', 'SIGTERM'),
                               ('add_security_group', 'a'),
                               ('remove_security_group', 'a')):
            record.status_reason = None
            self.assertRaises(zun_exc.ZunException,
                              getattr(self.driver, name), self.context,
                              record, argument)
            self.assertEqual('Running', record.status)
            self.assertTrue(record.status_reason)

    def test_reboot_of_what_was_never_created(self) -> None:
        """zun-api has set Restarting, which sync would not correct."""
        record = self.container(status='Restarting')
        self.assertRaises(zun_exc.Invalid, self.driver.reboot, self.context,
                          record, None)
        self.assertEqual('Error', record.status)
        self.assertIn('never created', record.status_reason)

    def test_refusals_leave_the_status_alone(self) -> None:
        record = self.run_container()
        self.assertRaises(zun_exc.Invalid, self.driver.commit, self.context,
                          record, 'name', 'tag')
        self.assertEqual('Running', record.status)
        self.assertIn('creating an image', record.status_reason)

    def test_delete(self) -> None:
        record = self.run_container()
        self.driver.delete(self.context, record, False)
        self.assertEqual(({}, {}), (self.neutron.ports, self.api.pods))
        self.driver.delete(self.context, record, False)

    def test_delete_goes_to_the_host_of_the_container(self) -> None:
        record = self.create()
        record.host = 'node-2'
        self.driver.delete(self.context, record, True)
        self.assertIn(('delete_pod', 'node-2', record.uuid, True),
                      self.api.calls)

    def test_delete_without_an_answer(self) -> None:
        record = self.run_container()
        self.api.fail['delete_pod'] = exception.NodeUnavailable(
            host='h', why='no answer')
        self.assertRaises(zun_exc.Conflict, self.driver.delete, self.context,
                          record, False)
        self.assertEqual(1, len(self.neutron.ports))
        self.assertRaises(zun_exc.Conflict, self.driver.delete, self.context,
                          record, True)
        self.assertEqual({}, self.neutron.ports)

    def test_rebuild(self) -> None:
        """As the manager does it: delete but keep the ports, then create."""
        record = self.run_container()
        (port,) = self.neutron.ports
        self.assertTrue(self.driver.check_container_exist(record))
        for addrs in record.addresses.values():
            for addr in addrs:
                addr['preserve_on_delete'] = True
        self.driver.delete(self.context, record, True)
        self.assertFalse(self.driver.check_container_exist(record))
        self.assertEqual([port], list(self.neutron.ports))
        image, _ = self.driver.pull_image(self.context, 'r.example/app', '1')
        image['repo'], image['tag'] = 'r.example/app', '1'
        self.driver.create(self.context, record, image,
                           self.requested(port=port), {})
        self.driver.start(self.context, record)
        self.assertEqual('Running', record.status)
        self.driver.delete(self.context, record, True)
        self.assertEqual({}, self.neutron.ports)


    def prepare_rebuild(self, **requested):
        """Prepare a rebuild as the manager does before it pulls the image."""
        self._networks = self.requested(**requested)
        record = self.run_container()
        record.save(self.context)
        (addr,) = record.addresses[self.neutron.NETWORK]
        networks = self.requested(
            port=addr['port'],
            preserve_on_delete=addr['preserve_on_delete'])
        addr['preserve_on_delete'] = True
        self.driver.delete(self.context, record, True)
        (port,) = self.neutron.ports.values()
        self.assertEqual('', port['device_id'])
        return record, networks

    def rebuild(self, record, networks):
        return self.driver.create(
            self.context, record,
            {'repo': 'app', 'tag': '1', 'kata': {}}, networks, {})

    def test_rebuild_whose_pull_fails_leaves_no_port(self) -> None:
        record, _ = self.prepare_rebuild()
        record = self.reload(record)
        other = self.create()
        self.driver.delete(self.context, record, False)
        (port,) = self.neutron.ports.values()
        self.assertEqual(other.uuid, port['device_id'])

    def test_rebuild_whose_pull_fails_can_be_done_again(self) -> None:
        record, networks = self.prepare_rebuild()
        record = self.rebuild(self.reload(record), networks)
        (port,) = self.neutron.ports.values()
        self.assertEqual(record.uuid, port['device_id'])

    def test_rebuild_whose_create_fails_leaves_no_port(self) -> None:
        """Zun then unsets the host, so no later delete reaches the driver."""
        for method, error in (
                ('create_pod', exception.NoHandler(why='none')),
                ('show_network', neutron_exc.InternalServerError())):
            record, networks = self.prepare_rebuild()
            ports._networks.clear()
            self.api.fail[method] = self.neutron.fail[method] = error
            self.assertRaises(zun_exc.Conflict, self.rebuild, record,
                              networks)
            self.assertEqual({}, self.neutron.ports)
            self.api.fail.clear()
            self.neutron.fail.clear()

    def test_failed_rebuild_keeps_the_users_port(self) -> None:
        for method, error in (
                ('create_pod', exception.NoHandler(why='none')),
                ('show_network', neutron_exc.InternalServerError())):
            mine = self.user_port()
            record, networks = self.prepare_rebuild(port=mine,
                                                    preserve_on_delete=True)
            ports._networks.clear()
            self.api.fail[method] = self.neutron.fail[method] = error
            self.assertRaises(zun_exc.Conflict, self.rebuild, record,
                              networks)
            self.assertEqual('', self.neutron.ports.pop(mine)['device_id'])
            self.assertEqual({}, self.neutron.ports)
            self.api.fail.clear()
            self.neutron.fail.clear()


class TestShow(ContainerTestCase):

    def test_not_created(self) -> None:
        record = self.container(status='Error')
        self.assertIs(record, self.driver.show(self.context, record))
        self.assertEqual([], self.api.calls)

    def test_running(self) -> None:
        record = self.run_container()
        record.status = 'Stopped'
        self.driver.show(self.context, record)
        self.assertEqual('Running', record.status)

    def test_exited(self) -> None:
        record = self.run_container()
        self.api.set_state(record.uuid, 'exited', exit_code=137,
                           reason='OOMKilled', finished_at=1060.0)
        self.driver.show(self.context, record)
        self.assertEqual('Stopped', record.status)
        self.assertIn('out of memory', record.status_reason)
        self.assertIn('Exited(137)', record.status_detail)

    def test_exited_after_a_child_ran_out_of_memory(self) -> None:
        record = self.run_container()
        self.api.set_state(record.uuid, 'exited', exit_code=0,
                           reason='OOMKilled', finished_at=1060.0)
        self.driver.show(self.context, record)
        self.assertIn('A process in the container was killed',
                      record.status_reason)
        self.assertIn('exit code 0', record.status_reason)
        self.assertNotIn('OOM', record.status_detail)

    def test_nothing_to_save_when_nothing_changed(self) -> None:
        record = self.run_container()
        self.api.set_state(record.uuid, 'exited', exit_code=0,
                           finished_at=0.0)
        self.driver.show(self.context, record)
        record.save(self.context)
        self.driver.show(self.context, record)
        self.assertEqual(set(), record.obj_what_changed())

    def test_task_under_way(self) -> None:
        record = self.run_container()
        record.task_state = 'container_stopping'
        self.api.set_state(record.uuid, 'exited', exit_code=0)
        self.api.calls.clear()
        self.driver.show(self.context, record)
        self.assertEqual('Running', record.status)
        self.assertEqual([], self.api.calls)

    def test_no_answer(self) -> None:
        record = self.run_container()
        for error in (exception.NodeUnavailable(host='h', why='x'),
                      ValueError('surprise')):
            self.api.fail['show_pod'] = error
            self.driver.show(self.context, record)
            self.assertEqual('Running', record.status)

    def test_missing(self) -> None:
        record = self.run_container()
        self.api.pods.clear()
        self.driver.show(self.context, record)
        self.assertEqual('Error', record.status)
        self.assertIn('not on this node', record.status_reason)

    def test_error_stays_until_it_runs(self) -> None:
        record = self.run_container()
        self.driver.stop(self.context, record, None)
        record.status, record.status_reason = 'Error', 'a failed start'
        self.driver.show(self.context, record)
        self.assertEqual(('Error', 'a failed start'),
                         (record.status, record.status_reason))
        self.api.set_state(record.uuid, 'running')
        self.driver.show(self.context, record)
        self.assertEqual(('Running', None),
                         (record.status, record.status_reason))

    def test_auto_remove_is_not_done_while_the_user_waits(self) -> None:
        record = self.run_container(auto_remove=True)
        self.api.set_state(record.uuid, 'exited', exit_code=0)
        self.driver.show(self.context, record)
        self.assertEqual('Stopped', record.status)
        self.assertIn(record.uuid, self.api.pods)
        record.save(self.context)
        local, _ = self.driver.list(self.context)
        self.assertEqual(['Stopped'], [r.status for r in local])
        self.assertIn(record.uuid, self.api.pods)


class TestOutput(ContainerTestCase):

    def test_logs(self) -> None:
        record = self.run_container()
        self.assertEqual('a line\n', self.driver.show_logs(
            self.context, record, stdout=True, stderr=False,
            timestamps=True, tail='all', since='None'))
        self.assertEqual(('logs', base.HOST, record.uuid, True, False, True,
                          None, None), self.api.calls[-1])
        self.driver.show_logs(self.context, record, tail='5',
                              since='1970-01-01 00:01:00,500')
        self.assertEqual((5, 60.5), self.api.calls[-1][-2:])
        self.assertRaises(zun_exc.Invalid, self.driver.show_logs,
                          self.context, record, since='yesterday')

    def test_exec(self) -> None:
        record = self.run_container()
        exec_id = self.driver.execute_create(self.context, record,
                                             "sh -c 'echo $A'", False)
        self.assertRegex(exec_id, '^[a-f0-9]{64}$')
        self.assertEqual(('sh -c echo $A', 3),
                         self.driver.execute_run(exec_id, "sh -c 'echo $A'"))
        self.assertEqual(('exec_sync', base.HOST, record.uuid,
                          ['sh', '-c', 'echo $A'], 30), self.api.calls[-1])
        self.assertRaises(zun_exc.Invalid, self.driver.execute_run, exec_id,
                          'true')

    def test_exec_of_nonsense(self) -> None:
        record = self.run_container()
        for command in ("sh -c 'echo", '', '  '):
            exec_id = self.driver.execute_create(self.context, record,
                                                 command, False)
            self.assertRaises(zun_exc.Invalid, self.driver.execute_run,
                              exec_id, command)

    def test_exec_interactive(self) -> None:
        record = self.run_container()
        exec_id = self.driver.execute_create(self.context, record,
                                             "sh -c 'a b'", True)
        self.assertEqual(('create_exec', base.HOST, record.uuid,
                          ['sh', '-c', 'a b'], True), self.api.calls[-1])
        self.assertRegex(exec_id, '^[a-f0-9]{64}$')
        self.driver.execute_resize(exec_id, '24', '80')
        self.assertEqual(('resize_exec', base.HOST, exec_id, 24, 80),
                         self.api.calls[-1])
        self.assertRaises(zun_exc.Invalid, self.driver.execute_resize,
                          exec_id, 'x', '80')
        self.assertRaises(zun_exc.Invalid, self.driver.execute_run, exec_id,
                          'sh')

    def test_attach(self) -> None:
        record = self.run_container()
        url = self.driver.get_websocket_url(self.context, record)
        self.assertEqual('ws://node1.test:6785/attach?token=' + 'a0' * 32,
                         url)
        self.assertIs(record, self.driver.resize(self.context, record, '24',
                                                 '80'))
        self.assertEqual(('resize_terminal', base.HOST, record.uuid, 24, 80),
                         self.api.calls[-1])
        self.api.fail['attach_container'] = exception.Conflict(
            kind='Container', id='c', state='not running', remedy='Start it.')
        self.assertRaises(zun_exc.Conflict, self.driver.get_websocket_url,
                          self.context, record)

    def test_exec_forgets_what_is_never_run(self) -> None:
        record = self.run_container()
        for _ in range(1100):
            self.driver.execute_create(self.context, record, 'true', False)
        self.assertEqual(1000, len(self.driver._execs))

    def test_top(self) -> None:
        record = self.run_container()
        for given, asked in ((None, ''), ('None', ''), ('aux', 'aux')):
            self.assertEqual({'Titles': ['PID'], 'Processes': [['1']]},
                             self.driver.top(self.context, record, given))
            self.assertEqual(('top', base.HOST, record.uuid, asked),
                             self.api.calls[-1])

    def test_stats(self) -> None:
        self.assertEqual({
            'CONTAINER': 'c 1', 'CPU %': 1.5, 'MEM USAGE(MiB)': 20.0,
            'MEM LIMIT(MiB)': 512.0, 'MEM %': 3.9, 'BLOCK I/O(B)': '1/2',
            'NET I/O(B)': '3/4',
        }, self.driver.stats(self.context, self.run_container()))


class TestContract(ContainerTestCase):

    def test_every_operation_is_answered(self) -> None:
        """No method of Zun's interface raises NotImplementedError."""
        names = [name for name, _ in inspect.getmembers(
            zun_driver.ContainerDriver, inspect.isfunction)]
        names += ['load_image', 'inspect_image', 'get_image',
                  'read_tar_image', 'check_container_exist', 'pause',
                  'unpause']
        for name in names:
            method = getattr(type(self.driver), name)
            self.assertIn('kata_openstack.',
                          inspect.unwrap(method).__module__, name)

    def test_fake_is_like_the_real_client(self) -> None:
        """These tests prove nothing if the signatures differ."""
        for name, method in inspect.getmembers(fakes.ComputeAPI,
                                               inspect.isfunction):
            if name.startswith('_') or name == 'set_state':
                continue
            self.assertEqual(
                list(inspect.signature(
                    getattr(rpcapi.ComputeAPI, name)).parameters),
                list(inspect.signature(method).parameters), name)

    def test_loaded_by_zun(self) -> None:
        self.config(container_driver='kata')
        self.assertIsInstance(zun_driver.load_container_driver(),
                              module.KataContainerDriver)

    def test_a_command_that_is_not_run_at_once(self) -> None:
        record = self.run_container()
        zun_manager = manager.Manager.__new__(manager.Manager)
        zun_manager.driver = self.driver
        self.addCleanup(zun.conf.CONF.clear_override,
                        'docker_remote_api_url', 'docker')
        self.assertEqual('e0' * 32, zun_manager.container_exec(
            self.context, record, 'true', False, False)['exec_id'])
        self.assertEqual(('create_exec', base.HOST, record.uuid, ['true'],
                          False), self.api.calls[-1])
        (made,) = self.reload(record).exec_instances
        self.assertEqual('http://node1.test:6785', made.url)
        self.assertEqual(0, len(self.driver._execs))
        self.assertEqual('true', zun_manager.container_exec(
            self.context, record, 'true', True, False)['output'])

    def test_search_is_tolerated_by_create(self) -> None:
        raised = self.assertRaises(
            zun_exc.Invalid, self.driver.search_image, self.context, 'x',
            'y', 'docker', True)
        self.assertIn('searching for images', str(raised))

    def test_volumes_are_refused_where_zun_reports_it(self) -> None:
        record = self.container(host=None)
        volume = zun_objects.VolumeMapping(
            self.context, container_uuid=record.uuid)
        volume.volume = zun_objects.Volume(volume_provider='cinder')
        self.assertEqual((True, False), self.driver.is_volume_available(
            self.context, volume))
        self.assertRaises(zun_exc.Invalid, self.driver.attach_volume,
                          self.context, volume)
        self.assertEqual(set(), self.allocated)
        record.destroy(self.context)
        self.assertRaises(zun_exc.Invalid, self.driver.attach_volume,
                          self.context, volume)


class TestDisk(ContainerTestCase):
    """The limit of the disk on its way through Zun's own manager."""

    def limit(self, **values):
        record = self.container(**values)
        manager_ = manager.Manager.__new__(manager.Manager)
        manager_.driver = self.driver
        manager_._check_support_disk_quota(self.context, record)
        manager_._do_container_create_base(self.context, record,
                                           self.requested(), {})
        return self.api.requests[record.uuid].containers[0].disk_gib

    def test_asked_for(self) -> None:
        self.assertEqual(3, self.limit(disk=3))

    def test_default(self) -> None:
        zun.conf.CONF.set_override('default_disk', 7)
        self.addCleanup(zun.conf.CONF.clear_override, 'default_disk')
        self.assertEqual(7, self.limit(disk=None))

    def test_no_default(self) -> None:
        zun.conf.CONF.set_override('default_disk', 0)
        self.addCleanup(zun.conf.CONF.clear_override, 'default_disk')
        self.assertIsNone(self.limit(disk=None))
        self.assertIsNone(self.limit(disk=0))
